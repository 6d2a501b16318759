package metrics

// WatchReady gives the checks of which blobd_ready tells, at each scrape, whether all of them pass. Before, it is 0.
func (m *Metrics) WatchReady(checks []Check) { m.checks.Store(&checks) }

func (m *Metrics) isReady() bool {
	checks := m.checks.Load()
	if checks == nil {
		return false
	}
	for _, c := range *checks {
		if c.Ready() != nil {
			return false
		}
	}
	return true
}
