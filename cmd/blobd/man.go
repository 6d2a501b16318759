//go:build man

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// addManCommand adds what writes the man pages. Released binaries don't have it: `make man` builds with this tag.
func addManCommand(root *cobra.Command) {
	root.AddCommand(&cobra.Command{
		Use:    "man DIR",
		Short:  "Write a man page of each command into a folder",
		Hidden: true,
		Args:   takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
			if err != nil {
				return fmt.Errorf("$SOURCE_DATE_EPOCH is the date of the pages: %w", err)
			}
			return writePages(root, args[0], time.Unix(epoch, 0).UTC())
		},
	})
}

// writePages writes the page of cmd and those of the commands below it.
func writePages(cmd *cobra.Command, dir string, date time.Time) error {
	if cmd.Hidden || cmd.Name() == "help" {
		return nil
	}
	cmd.InitDefaultHelpFlag()
	name := filepath.Join(dir, pageName(cmd)+".1")
	if err := os.WriteFile(name, pageOf(cmd, date), 0o644); err != nil {
		return err
	}
	for _, c := range cmd.Commands() {
		if err := writePages(c, dir, date); err != nil {
			return err
		}
	}
	return nil
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// pageOf is the man page of a command, in the macros of man(7).
func pageOf(cmd *cobra.Command, date time.Time) []byte {
	var p manPage
	fmt.Fprintf(&p, ".TH %s 1 %s \"blobd %s\" blobd\n",
		strings.ToUpper(pageName(cmd)), date.Format(time.DateOnly), buildInfo().Version)
	p.section("NAME")
	p.line(escape(pageName(cmd)) + ` \- ` + escape(cmd.Short))
	p.section("SYNOPSIS")
	_, args, _ := strings.Cut(cmd.Use, " ")
	p.line(`\fB` + escape(cmd.CommandPath()) + `\fR ` + escape(strings.TrimSpace(args+" [option ...]")))
	p.section("DESCRIPTION")
	p.prose(cmp.Or(cmd.Long, cmd.Short+"."))
	p.commands(cmd)
	p.options("OPTIONS", cmd.NonInheritedFlags())
	p.options("OPTIONS OF EVERY COMMAND", cmd.InheritedFlags())
	if cmd.Example != "" {
		p.section("EXAMPLES")
		p.verbatim(cmd.Example)
	}
	p.seeAlso(cmd)
	return p.Bytes()
}

// manPage is one that is being written.
type manPage struct{ bytes.Buffer }

func (p *manPage) line(text string) { p.WriteString(text + "\n") }

func (p *manPage) section(title string) { p.line(`.SH "` + title + `"`) }

// prose writes paragraphs; those that are indented stay as they are.
func (p *manPage) prose(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			p.line(".PP")
		}
		if strings.HasPrefix(paragraph, " ") {
			p.verbatim(paragraph)
			continue
		}
		p.lines(paragraph)
	}
}

func (p *manPage) lines(text string) {
	for line := range strings.Lines(text) {
		p.line(escape(strings.TrimSpace(line)))
	}
}

func (p *manPage) verbatim(text string) {
	p.line(".nf")
	for line := range strings.Lines(text) {
		p.line(escape(strings.TrimRight(line, "\n")))
	}
	p.line(".fi")
}

func (p *manPage) commands(cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	p.section("COMMANDS")
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			p.line(".TP")
			p.line(`\fB` + escape(c.Name()) + `\fR`)
			p.lines(c.Short)
		}
	}
}

func (p *manPage) options(title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	p.section(title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		p.line(".TP")
		value, usage := pflag.UnquoteUsage(f)
		head := `\fB` + escape("--"+f.Name) + `\fR`
		if f.Shorthand != "" {
			head = `\fB` + escape("-"+f.Shorthand) + `\fR, ` + head
		}
		if value != "" {
			head += ` \fI` + escape(value) + `\fR`
		}
		p.line(head)
		if f.DefValue != "" && !slices.Contains([]string{"false", "[]", "0", "0s"}, f.DefValue) {
			usage += " (default " + f.DefValue + ")"
		}
		p.lines(usage)
	})
}

func (p *manPage) seeAlso(cmd *cobra.Command) {
	var names []string
	if cmd.HasParent() {
		names = append(names, pageName(cmd.Parent()))
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, pageName(c))
		}
	}
	for i, name := range names {
		names[i] = `\fB` + escape(name) + `\fR(1)`
	}
	p.section("SEE ALSO")
	p.line(strings.Join(names, ", "))
}

// escape has text mean itself: no escapes, hyphens that can be copied, no line that begins like a macro.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
