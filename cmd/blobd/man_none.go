//go:build !man

package main

import "github.com/spf13/cobra"

// addManCommand does nothing: see man.go.
func addManCommand(*cobra.Command) {}
