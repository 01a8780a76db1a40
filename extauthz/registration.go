package extauthz

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// registration are the metrics of one Authorizer, which are registered together or not at all. Those of a nil
// registration are counted all the same, and looked at by nobody.
type registration struct {
	registerer prometheus.Registerer
	collectors []prometheus.Collector
}

// newRegistration returns nil where the metrics are wanted nowhere.
func newRegistration(registerer prometheus.Registerer) *registration {
	if registerer == nil {
		return nil
	}
	return &registration{registerer: registerer}
}

// MustRegister adds metrics; they are registered by commit.
func (r *registration) MustRegister(collectors ...prometheus.Collector) {
	if r != nil {
		r.collectors = append(r.collectors, collectors...)
	}
}

// commit registers all metrics. After an error none of them is registered.
func (r *registration) commit() error {
	if r == nil {
		return nil
	}
	for i, collector := range r.collectors {
		if err := r.registerer.Register(collector); err != nil {
			r.collectors = r.collectors[:i]
			r.withdraw()
			if _, taken := errors.AsType[prometheus.AlreadyRegisteredError](err); taken {
				return errors.New("has the metrics of another Authorizer already; close that one first, or give each a label " +
					"of its own by prometheus.WrapRegistererWith")
			}
			return fmt.Errorf("does not take the metrics (%w); give a registry of its own", err)
		}
	}
	return nil
}

// withdraw takes away what was registered.
func (r *registration) withdraw() {
	if r == nil {
		return
	}
	for _, collector := range r.collectors {
		r.registerer.Unregister(collector)
	}
	r.collectors = nil
}
