package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/monitor"
)

func newCacheStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show how full each cache is",
		Example: `  blobd cache status`,
		Args:    takes(0, 0),
		RunE: a.admin(func(ctx context.Context, admin blobdv1.AdminServiceClient, _ []string) error {
			r, err := admin.Status(ctx, &blobdv1.StatusRequest{})
			if err != nil {
				return err
			}
			out := describeCaches(r)
			return a.print(out, out.text)
		}),
	}
}

// jsonCaches is the caches and their disk, for programs.
type jsonCaches struct {
	CacheDir  string      `json:"cache_dir"`
	Bytes     int64       `json:"bytes"`
	Limit     int64       `json:"limit"`
	DiskFree  int64       `json:"disk_free"`
	MinFree   int64       `json:"min_free"`
	Artifacts int64       `json:"artifacts"`
	Scanning  bool        `json:"scanning"`
	Caches    []jsonCache `json:"caches"`
}

type jsonCache struct {
	Name    string `json:"name"`
	Path    string `json:"path,omitempty"`
	Enabled bool   `json:"enabled"`
	Bytes   int64  `json:"bytes"`
	Limit   int64  `json:"limit"`
	Entries int64  `json:"entries"`
	Pinned  int64  `json:"pinned_bytes"`
	Leased  int64  `json:"leased_bytes"`
	jsonLooks
	Ratio       *float64  `json:"hit_ratio"` // since the start; null where nobody looked
	Recent      jsonLooks `json:"recent"`    // in the last five minutes
	RecentRatio *float64  `json:"recent_hit_ratio"`
}

func describeCaches(r *blobdv1.StatusResponse) jsonCaches {
	out := jsonCaches{
		CacheDir: r.GetCacheDir(), Bytes: r.GetBytes(), Limit: r.GetLimit(), DiskFree: r.GetDiskFree(), MinFree: r.GetMinFree(),
		Artifacts: r.GetArtifacts(), Scanning: r.GetScanning(), Caches: []jsonCache{},
	}
	for _, c := range r.GetCaches() {
		looks, recent := looksOf(c.GetLooks()), looksOf(c.GetRecentLooks())
		out.Caches = append(out.Caches, jsonCache{
			jsonLooks: jsonLooks(looks), Ratio: ratio(looks), Recent: jsonLooks(recent), RecentRatio: ratio(recent),
			Name: c.GetName(), Path: c.GetPath(), Enabled: c.GetEnabled(), Bytes: c.GetBytes(), Limit: c.GetLimit(),
			Entries: c.GetEntries(), Pinned: c.GetPinnedBytes(), Leased: c.GetLeasedBytes(),
		})
	}
	return out
}

func ratio(l monitor.Looks) *float64 {
	if r, ok := l.Ratio(); ok {
		return &r
	}
	return nil
}

func (j jsonCaches) text(w io.Writer) {
	scan := ""
	if j.Scanning {
		scan = "the folders are still being counted"
	}
	fields(w,
		field{"folder", j.CacheDir},
		field{"used", fmt.Sprintf("%s of %s", human(j.Bytes), human(j.Limit))},
		field{"disk", fmt.Sprintf("%s free, %s of it to be kept so", human(j.DiskFree), human(j.MinFree))},
		field{"artifacts", fmt.Sprint(j.Artifacts)},
		field{"scanning", scan},
	)
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CACHE\tENTRIES\tUSED\tLIMIT\tPINNED\tIN USE\tFOLDER")
	for _, c := range j.Caches {
		folder := c.Path
		if !c.Enabled {
			folder = "off"
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n",
			c.Name, c.Entries, human(c.Bytes), human(c.Limit), human(c.Pinned), human(c.Leased), folder)
	}
	table.Flush()
}
