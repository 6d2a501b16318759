package pullthrough

import "context"

// Tracer follows flights for whoever looks at one of them. Calls come from many goroutines and must not block.
type Tracer interface {
	// Flight hears of a flight as it begins: caller is the context of who began it, kind and what are those of Flight. The
	// flight goes on in the context that is returned, which is base or comes from it, and calls land at its end.
	Flight(base, caller context.Context, kind, what string) (ctx context.Context, land func(error))
	// Joined hears of a caller who joined the flight of that context.
	Joined(caller, flight context.Context)
}

// Trace has t told of all flights. It is called before the first of them, if at all.
func (s *Service) Trace(t Tracer) { s.tracer = t }

// departs tells the tracer of a flight that caller began; land is called at its end.
func (s *Service) departs(
	base, caller context.Context, kind string, what func() string,
) (ctx context.Context, land func(error)) {
	if s.tracer == nil {
		return base, func(error) {}
	}
	return s.tracer.Flight(base, caller, kind, what())
}

// joins counts a caller who joined the flight of that context.
func (s *Service) joins(caller, flight context.Context) {
	s.obs.FlightJoined()
	if s.tracer != nil {
		s.tracer.Joined(caller, flight)
	}
}
