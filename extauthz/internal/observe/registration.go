package observe

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Registration are the metrics of one Authorizer, which are registered together or not at all. Those of a nil
// registration are counted all the same, and looked at by nobody.
type Registration struct {
	registerer prometheus.Registerer
	collectors []prometheus.Collector
}

// NewRegistration returns nil where the metrics are wanted nowhere.
func NewRegistration(registerer prometheus.Registerer) *Registration {
	if registerer == nil {
		return nil
	}
	return &Registration{registerer: registerer}
}

// MustRegister adds metrics; they are registered by commit.
func (r *Registration) MustRegister(collectors ...prometheus.Collector) {
	if r != nil {
		r.collectors = append(r.collectors, collectors...)
	}
}

// Commit registers all metrics. After an error none of them is registered.
func (r *Registration) Commit() error {
	if r == nil {
		return nil
	}
	for i, collector := range r.collectors {
		if err := r.registerer.Register(collector); err != nil {
			r.collectors = r.collectors[:i]
			r.Withdraw()
			if _, taken := errors.AsType[prometheus.AlreadyRegisteredError](err); taken {
				return errors.New("already has the metrics of another Authorizer; close that one first, or give each a label " +
					"of its own by prometheus.WrapRegistererWith")
			}
			return fmt.Errorf("does not accept the metrics (%w); use a separate registry", err)
		}
	}
	return nil
}

// Withdraw takes away what was registered.
func (r *Registration) Withdraw() {
	if r == nil {
		return
	}
	for _, collector := range r.collectors {
		r.registerer.Unregister(collector)
	}
	r.collectors = nil
}
