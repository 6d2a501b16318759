package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

func newLoginCommand(a *app) *cobra.Command {
	var user string
	var passwordStdin, list, system bool
	cmd := &cobra.Command{
		Use:   "login REGISTRY | --list",
		Short: "Log in to a registry",
		Long: `Login asks for a user name and a password, tries them on the registry and keeps them for your pushes and for a daemon
that you run. What the registry refuses is not kept.

They are kept in the format of Docker's config.json in blobd's own file: $BLOBD_AUTH_FILE, else blobd/auth.json in your
configuration folder; or in the credential helper that this file names (credsStore, credHelpers). Logins of Spin and of
Docker are found without this command; a login made here goes first.

With --system the login is the daemon's, for all whom it serves, and takes effect at once: the daemon tries it, as its
configuration reaches the registry, and keeps it in its own file (credentials.login_file). That is open to admins, and
nobody gets the secret back.`,
		Example: `  blobd login registry.example
  sudo blobd login --system -u robot --password-stdin registry.example <token
  pass show registry | blobd login -u somebody --password-stdin registry.example
  blobd login --list`,
		Args: func(cmd *cobra.Command, args []string) error {
			if list {
				return takes(0, 0)(cmd, args)
			}
			return takes(1, 1)(cmd, args)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := addRegistryFlags(cmd)
	cmd.Flags().StringVarP(&user, "username", "u", "", "the user's name (default: asked for)")
	cmd.Flags().BoolVar(&passwordStdin, "password-stdin", false, "read the password from stdin; one newline at its end is cut")
	cmd.Flags().BoolVar(&list, "list", false, "list the logins that are kept, without their secrets")
	cmd.Flags().BoolVar(&system, "system", false, "the login of the daemon, instead of yours")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case system && (flags.plainHTTP || flags.caFile != ""):
			return &usageError{why: "login: how the daemon reaches a registry stands in its configuration", hint: "set plain_http or ca_file under registries there"}
		case list && system:
			return a.listSystemLogins(cmd.Context())
		case list:
			return a.listLogins(cmd.Context())
		}
		name, host, err := parseRegistry(args[0])
		if err != nil {
			return err
		}
		cred, err := a.askLogin(cmd.Context(), cmd.InOrStdin(), name, user, passwordStdin)
		if err != nil {
			return err
		}
		if system {
			return a.systemLogin(cmd.Context(), name, cred)
		}
		return a.login(cmd.Context(), name, host, cred, flags)
	}
	return cmd
}

// login tries a login and keeps it.
func (a *app) login(ctx context.Context, name, host string, cred credentials.Credential, flags *registryFlags) error {
	conf, err := callersConfig()
	if err != nil {
		return err
	}
	c, err := flags.client(nil, host)
	if err != nil {
		return err
	}
	defer c.Close()
	asks, err := c.Check(ctx, host, cred)
	if err != nil {
		return err
	}
	where, err := credentials.OpenFile(callersLogins(conf)).Login(ctx, name, cred)
	if err != nil {
		return err
	}
	return a.loggedIn(loginReport{credentials.Login{Registry: name, Username: cred.Username, Where: where}, asks})
}

// systemLogin has the daemon try a login and keep it.
func (a *app) systemLogin(ctx context.Context, name string, cred credentials.Credential) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Admin().Login(ctx, &blobdv1.LoginRequest{Registry: name, Username: cred.Username, Password: cred.Password})
	if err != nil {
		return err
	}
	return a.loggedIn(loginReport{loginOf(r.GetLogin()), r.GetChecked()})
}

func loginOf(l *blobdv1.Login) credentials.Login {
	return credentials.Login{Registry: l.GetRegistry(), Username: l.GetUsername(), Where: l.GetWhere()}
}

func (a *app) loggedIn(r loginReport) error {
	if !r.Checked {
		a.note("%s asks nobody to log in: the login was not tried", r.Registry)
	}
	return a.print(r, func(w io.Writer) {
		fmt.Fprintf(w, "Logged in to %s as %s; kept in %s\n", r.Registry, oneLine(r.Username), r.Where)
	})
}

// loginReport is what a login prints.
type loginReport struct {
	credentials.Login
	Checked bool `json:"checked"`
}

// parseRegistry reads host[:port], with or without a path below it. name is what a login is kept for.
func parseRegistry(arg string) (name, host string, err error) {
	name = credentials.RegistryName(arg)
	host, _, _ = strings.Cut(name, "/")
	ref, err := oci.ParseReference(name + "/x")
	if err != nil || ref.Registry != host {
		return "", "", fault.New(fault.InvalidReference, "%q is no registry", arg).Try("write a host with a dot or a port, as registry.example or localhost:5000")
	}
	return name, host, nil
}

// maxPassword bounds what is read from stdin: tokens of cloud registries take some kilobytes.
const maxPassword = 1 << 20

// askLogin gets a user name and a password from stdin or from the person at it.
func (a *app) askLogin(ctx context.Context, stdin io.Reader, registry, user string, fromStdin bool) (credentials.Credential, error) {
	missing := func(why string) (credentials.Credential, error) {
		return credentials.Credential{}, &usageError{why: "login: " + why, hint: "give -u and --password-stdin"}
	}
	if fromStdin {
		if user == "" {
			return missing("--password-stdin leaves nothing to ask for the user's name")
		}
		raw, err := io.ReadAll(io.LimitReader(stdin, maxPassword+1))
		if err != nil {
			return credentials.Credential{}, fmt.Errorf("password from stdin: %w", err)
		}
		password := cutNewline(string(raw))
		if password == "" || len(raw) > maxPassword {
			return missing("there is no password on stdin")
		}
		return credentials.Credential{Username: user, Password: password}, nil
	}
	terminal, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return missing("there is no terminal to ask for the password on")
	}
	var err error
	if user == "" {
		fmt.Fprintf(a.stderr, "User name for %s: ", registry)
		if user, err = ask(ctx, terminal, func() (string, error) { return bufio.NewReader(terminal).ReadString('\n') }); err != nil {
			return credentials.Credential{}, err
		}
		user = strings.TrimSpace(user)
	}
	fmt.Fprintf(a.stderr, "Password of %s at %s: ", oneLine(user), registry)
	password, err := ask(ctx, terminal, func() (string, error) {
		raw, err := term.ReadPassword(int(terminal.Fd()))
		return string(raw), err
	})
	fmt.Fprintln(a.stderr)
	if err != nil {
		return credentials.Credential{}, err
	}
	if user == "" || password == "" {
		return missing("it needs a user name and a password")
	}
	return credentials.Credential{Username: user, Password: password}, nil
}

// ask reads from a terminal until ctx ends, and leaves the terminal as it was.
func ask(ctx context.Context, terminal *os.File, read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	before, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		return "", err
	}
	answers := make(chan answer, 1)
	go func() { // it ends with the process, if nobody answers
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case got := <-answers:
		return got.text, got.err
	case <-ctx.Done():
		_ = term.Restore(int(terminal.Fd()), before)
		return "", context.Cause(ctx)
	}
}

// cutNewline cuts the one newline that echo and editors add; a password may well end in another.
func cutNewline(s string) string {
	if cut, ok := strings.CutSuffix(s, "\r\n"); ok {
		return cut
	}
	return strings.TrimSuffix(s, "\n")
}

func (a *app) listLogins(ctx context.Context) error {
	c, err := callersConfig()
	if err != nil {
		return err
	}
	list, err := credentials.OpenFile(callersLogins(c)).Logins(ctx)
	if err != nil {
		return err
	}
	return a.printLogins(list)
}

// listSystemLogins lists the daemon's.
func (a *app) listSystemLogins(ctx context.Context) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Admin().ListLogins(ctx, &blobdv1.ListLoginsRequest{})
	if err != nil {
		return err
	}
	list := make([]credentials.Login, 0, len(r.GetLogins()))
	for _, l := range r.GetLogins() {
		list = append(list, loginOf(l))
	}
	return a.printLogins(list)
}

func (a *app) printLogins(list []credentials.Login) error {
	w := bufio.NewWriter(a.stdout)
	if a.format == formatJSON {
		for _, l := range list {
			if err := writeJSON(w, l); err != nil {
				return err
			}
		}
		return w.Flush()
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, l := range list {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", oneLine(l.Registry), oneLine(l.Username), l.Where)
	}
	tw.Flush()
	return w.Flush()
}
