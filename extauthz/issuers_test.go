package extauthz

import (
	"reflect"
	"testing"
)

// only is the issuer of an Authorizer that has one.
func (a *Authorizer) only() *instance { return a.issuers.all()[0] }

// What belongs to one issuer has the same name and type in Config, and all of it is taken over from there.
func TestConfigHasEveryFieldOfAnIssuer(t *testing.T) {
	of, config := reflect.TypeFor[IssuerConfig](), reflect.New(reflect.TypeFor[Config]()).Elem()
	for i := range of.NumField() {
		field := of.Field(i)
		if field.Name == "Name" || !field.IsExported() {
			continue
		}
		same := config.FieldByName(field.Name)
		if !same.IsValid() || same.Type() != field.Type {
			t.Fatalf("Config has no field %s of that type", field.Name)
		}
		fill(same)
	}
	made := config.Addr().Interface().(*Config).plain()
	for i := range of.NumField() {
		if of.Field(i).IsExported() && reflect.ValueOf(made).Field(i).IsZero() {
			t.Errorf("%s is not taken over", of.Field(i).Name)
		}
	}
}

// fill sets a field to something that is not zero.
func fill(field reflect.Value) {
	switch field.Kind() {
	case reflect.String:
		field.SetString("x")
	case reflect.Bool:
		field.SetBool(true)
	case reflect.Int, reflect.Int64:
		field.SetInt(1)
	case reflect.Slice:
		field.Set(reflect.MakeSlice(field.Type(), 1, 1))
	case reflect.Func:
		field.Set(reflect.MakeFunc(field.Type(), nil))
	case reflect.Struct:
		fill(field.Field(0))
	}
}
