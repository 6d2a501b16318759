package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/publish"
	"github.com/blobd/blobd/publish/spinpush"
)

func newPushCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push DIR REF | --files FILE[:TYPE]… REF | --spin SPIN.TOML REF",
		Short: "Publish a folder as an archive, files as an artifact, or a Spin application",
		Long: `Push publishes a folder as a blob archive, whose files blobd and meigma/blob read one by one; with --files it publishes
an artifact whose blobs are files, as oras does; with --spin a Spin application from its manifest, as spin registry push.

Symbolic links, devices, pipes, sockets and empty folders are left out of an archive, and counted on stderr. Files keep
their permission bits, times and owners. With --source-date-epoch (or $SOURCE_DATE_EPOCH) every file has that time and no
owner, and so does the archive: the same files give the same digest, wherever and whenever they are pushed.

A blob that the repository has is not sent again; one that another repository of the registry has is mounted from there
with --mount-from. A push that was interrupted goes on when it is run again.

The login is yours, from blobd login, Spin or Docker, not the daemon's. --warm asks the daemon afterwards to fetch
what was pushed, with its own.`,
		Example: `  blobd push ./site registry.example/team/site:v1
  blobd push --compress zstd --tag latest --warm ./site registry.example/team/site:v2
  blobd push --source-date-epoch 0 ./site localhost:5000/team/site:v1
  blobd push --files model.bin config.json:application/json registry.example/team/model:v1
  blobd push --spin spin.toml registry.example/team/shop:v1`,
	}
	f := pushFlags{registryFlags: addRegistryFlags(cmd), compress: compressFlag(publish.CompressAuto)}
	f.transfers(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.files, "files", false, "publish files, a blob each; FILE:TYPE gives one a media type")
	flags.BoolVar(&f.spin, "spin", false, "publish the Spin application of a manifest of version 2")
	flags.BoolVar(&f.httpSources, "http-sources", false, "with --spin: download components from http:// addresses, too")
	flags.Var(&f.compress, "compress", "none, zstd, or auto, which stores a file as it is where it would not shrink")
	flags.StringVar(&f.artifactType, "artifact-type", "", "with --files: what kind of artifact it is, a media type")
	flags.StringArrayVar(&f.annotations, "annotation", nil, "annotate the manifest, KEY=VALUE (repeatable)")
	flags.StringArrayVar(&f.tags, "tag", nil, "give it this tag, too (repeatable)")
	flags.StringArrayVar(&f.mountFrom, "mount-from", nil, "a repository of the registry that may have the blobs (repeatable)")
	flags.StringVar(&f.epoch, "source-date-epoch", "", "seconds since 1970 to use for all times (default $SOURCE_DATE_EPOCH, where set)")
	flags.BoolVar(&f.warm, "warm", false, "have the daemon fetch it afterwards")
	if err := cmd.RegisterFlagCompletionFunc("compress",
		cobra.FixedCompletions([]cobra.Completion{"none", "zstd", "auto"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag stands above
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if f.files {
			return takes(2, -1)(cmd, args)
		}
		return takes(2, 2)(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		what, name := args[:len(args)-1], args[len(args)-1]
		ref, err := oci.ParseReference(name)
		if err != nil {
			return err
		}
		return a.push(cmd.Context(), what, ref, &f)
	}
	return cmd
}

type pushFlags struct {
	*registryFlags
	files        bool
	spin         bool
	httpSources  bool
	compress     compressFlag
	artifactType string
	annotations  []string
	tags         []string
	mountFrom    []string
	epoch        string
	warm         bool
}

// compressFlag is a publish.Compression. It is a pflag.Value.
type compressFlag publish.Compression

func (c *compressFlag) String() string { return string(*c) }
func (*compressFlag) Type() string     { return "how" }

func (c *compressFlag) Set(s string) error {
	switch publish.Compression(s) {
	case publish.CompressNone, publish.CompressZstd, publish.CompressAuto:
		*c = compressFlag(s)
		return nil
	}
	return fmt.Errorf("%q is neither none, zstd nor auto", s)
}

// pushReport is what a push prints.
type pushReport struct {
	pushed
	Files       int              `json:"files"`
	Size        int64            `json:"size"` // of the files
	Sent        int              `json:"blobs_sent"`
	Mounted     int              `json:"blobs_mounted"`
	Present     int              `json:"blobs_present"`
	Transferred int64            `json:"bytes_sent"`
	Skipped     *publish.Skipped `json:"skipped,omitempty"`
	Warmed      *fetched         `json:"warmed,omitempty"`
}

func (a *app) push(ctx context.Context, what []string, ref oci.Reference, f *pushFlags) error {
	annotations, err := parseAnnotations(f.annotations)
	if err != nil {
		return err
	}
	epoch, err := parseEpoch(f.epoch)
	if err != nil {
		return err
	}
	if err := checkTags(ref, f.tags); err != nil {
		return err
	}
	if f.artifactType != "" && !f.files {
		return &usageError{why: "push: --artifact-type is for --files; what a folder or a Spin manifest becomes has its own", hint: "see `blobd push --help`"}
	}
	if f.spin && f.files {
		return &usageError{why: "push: --spin and --files exclude each other", hint: "see `blobd push --help`"}
	}
	if f.httpSources && !f.spin {
		return &usageError{why: "push: --http-sources is for --spin", hint: "see `blobd push --help`"}
	}
	m := a.meter("pushing")
	c, err := f.client(m.set, ref.Registry)
	if err != nil {
		return err
	}
	defer c.Close()
	upload := publish.UploadOptions{Tags: f.tags, MountFrom: repositories(ref, f.mountFrom)}
	var report *pushReport
	switch {
	case f.spin:
		report, err = pushSpin(ctx, c, what[0], ref, upload, spinpush.Options{
			Annotations: annotations, Epoch: epoch, HTTPSources: f.httpSources,
		})
	case f.files:
		report, err = pushFiles(ctx, c, what, ref, publish.FilesOptions{
			UploadOptions: upload, ArtifactType: f.artifactType, Annotations: annotations, Epoch: epoch,
		})
	default:
		report, err = a.pushArchive(ctx, c, what[0], ref, publish.ArchiveOptions{
			UploadOptions: upload, Compress: publish.Compression(f.compress), Annotations: annotations, Epoch: epoch,
		})
	}
	m.stop()
	if err != nil {
		return err
	}
	report.Tags = f.tags
	var cold error
	if f.warm {
		report.Warmed, cold = a.warm(ctx, ref)
	}
	if err := a.print(report, func(w io.Writer) { fmt.Fprintln(w, report.pushed) }); err != nil {
		return err
	}
	return cold
}

func newPushReport(ref oci.Reference, done publish.Uploaded) *pushReport {
	return &pushReport{
		pushed: pushed{Reference: ref.String(), Digest: done.Digest.String()},
		Sent:   done.Sent, Mounted: done.Mounted, Present: done.Present, Transferred: done.Bytes,
	}
}

// warm has the daemon pull and fetch what was pushed, with its own login.
func (a *app) warm(ctx context.Context, ref oci.Reference) (*fetched, error) {
	c, err := a.dial(ctx)
	if err == nil {
		defer c.Close()
		var got fetched
		if got, err = a.prefetch(ctx, c, ref.String(), nil, []client.ReadOption{client.MaxAge(0)}); err == nil {
			return &got, nil
		}
	}
	a.note("%s is pushed; the daemon has not fetched it", ref)
	return nil, err
}

func parseAnnotations(list []string) (map[string]string, error) {
	annotations := map[string]string{}
	for _, kv := range list {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return nil, &usageError{why: fmt.Sprintf("push: annotation %q is not KEY=VALUE", kv), hint: "see `blobd push --help`"}
		}
		annotations[key] = value
	}
	return annotations, nil
}

// parseEpoch reads seconds since 1970, from the environment where the flag is not given; nil for neither.
func parseEpoch(flag string) (*time.Time, error) {
	from, text := "--source-date-epoch", flag
	if text == "" {
		from, text = "$SOURCE_DATE_EPOCH", os.Getenv("SOURCE_DATE_EPOCH")
	}
	if text == "" {
		return nil, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 || seconds > maxNanoSeconds {
		return nil, fault.New(fault.InvalidArgument, "%s %q is not a number of seconds since 1970", from, text)
	}
	at := time.Unix(seconds, 0).UTC()
	return &at, nil
}

// maxNanoSeconds are the seconds whose nanoseconds an index can say: up to the year 2262.
const maxNanoSeconds = 1<<63/1_000_000_000 - 1

// repositories are the names of repositories of ref's registry, with or without the registry before them.
func repositories(ref oci.Reference, names []string) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = strings.TrimPrefix(name, ref.Registry+"/")
	}
	return list
}
