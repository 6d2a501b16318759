package main

import "os"

// reloadSignals are none: Windows has no SIGHUP, so a new configuration needs a restart.
func reloadSignals() []os.Signal { return nil }
