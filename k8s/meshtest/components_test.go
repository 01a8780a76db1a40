package meshtest

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// The components change what they say, in the base: no user of OpenShift's is named, files lie where they are mounted, and
// the rest of the confinement stays.
func TestComponents(t *testing.T) {
	for _, o := range overlay(t, "meshtest/testdata/production") {
		if o.kind() != "Deployment" {
			continue
		}
		pod := into[appsv1.Deployment](t, o).Spec.Template.Spec
		context := pod.SecurityContext
		if context.RunAsUser != nil || context.RunAsGroup != nil || context.FSGroup != nil {
			t.Errorf("a user is named: %v", context)
		}
		if context.RunAsNonRoot == nil || !*context.RunAsNonRoot || context.SeccompProfile == nil {
			t.Errorf("the rest is lost: %v", context)
		}
		container := pod.Containers[0]
		mounted := func(path string) bool {
			for _, mount := range container.VolumeMounts {
				if strings.HasPrefix(path, mount.MountPath+"/") {
					return true
				}
			}
			return false
		}
		found := map[string]string{}
		for _, variable := range container.Env {
			found[variable.Name] = variable.Value
		}
		for _, other := range overlay(t, "meshtest/testdata/production") {
			if other.kind() == "ConfigMap" {
				for name, value := range into[corev1.ConfigMap](t, other).Data {
					found[name] = value
				}
			}
		}
		for _, name := range []string{"SSL_CERT_FILE", "EXTAUTHZ_AUDIT_LOG", "BETTER_AUTH_SECRET_FILE", "DATABASE_URL_FILE"} {
			if found[name] == "" || !mounted(found[name]) {
				t.Errorf("%s is %q, and mounted are %v", name, found[name], container.VolumeMounts)
			}
		}
	}
}
