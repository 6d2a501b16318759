package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/blobd/blobd/config"
)

// newConfigCommand groups what can be said of a configuration without a daemon.
func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show or check the configuration",
		Example: `  blobd config show
  blobd config check`,
		Args: cobra.ArbitraryArgs,
		RunE: showHelp,
	}
	cmd.AddCommand(newConfigShowCommand(), newConfigCheckCommand())
	return cmd
}

func newConfigShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the configuration that serve would run with",
		Long: `Print the configuration that "blobd serve" would run with, given the same flags, environment and file: every key with
its value, as a file that --config takes. "blobd status" tells what a running daemon has.`,
		Example: `  blobd config show
  blobd config show --max-size 100GiB >config.yaml`,
		Args: takes(0, 0),
	}
	sources := sourceFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := checkConfig(cmd, sources(os.Environ()))
		if err != nil {
			return err
		}
		text, err := c.YAML()
		if err != nil {
			return err
		}
		if !wantsJSON(cmd) {
			_, err = cmd.OutOrStdout().Write(text)
			return err
		}
		var values map[string]any
		if err := yaml.Unmarshal(text, &values); err != nil {
			return fmt.Errorf("configuration as JSON: %w", err)
		}
		return json.NewEncoder(cmd.OutOrStdout()).Encode(values)
	}
	return cmd
}

func newConfigCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say whether serve would start with the configuration",
		Long: `Say whether "blobd serve" would take the configuration, given the same flags, environment and file (or FILE in place
of it). The first mistake is reported with its line; the exit code is 2 then. What the configuration names is tried:
folders, certificates, logins (a login that a credential helper keeps is asked for), users.`,
		Example: `  blobd config check
  blobd config check /etc/blobd/config.yaml`,
		Args: takes(0, 1),
	}
	sources := sourceFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s := sources(os.Environ())
		if len(args) > 0 {
			s.File = args[0]
		}
		c, err := checkConfig(cmd, s)
		if err == nil {
			err = checkHost(cmd.Context(), c, s)
		}
		if err != nil {
			return err
		}
		if wantsJSON(cmd) {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]bool{"ok": true})
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "the configuration is right")
		return err
	}
	return cmd
}

// checkConfig loads a configuration as serve does, and looks at the files it names. Warnings go to stderr.
func checkConfig(cmd *cobra.Command, s config.Sources) (config.Config, error) {
	c, warnings, err := loadConfig(s)
	for _, w := range warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "blobd: "+w)
	}
	if err != nil {
		return c, err
	}
	if _, err := c.AdminUIDs(s); err != nil {
		return c, err
	}
	_, err = fetcherOptions(c, s)
	return c, err
}

func wantsJSON(cmd *cobra.Command) bool {
	output := cmd.Flag("output")
	return output != nil && output.Value.String() == "json"
}
