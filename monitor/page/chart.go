package page

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/blobd/blobd/monitor"
)

const (
	minutes = 60 // of a chart: what a snapshot has
	height  = 24 // of a chart, in units of its own
)

// chart is a picture of the last hour, a unit of width for each minute, and the same in words.
type chart struct {
	Line, Area string // of SVG paths
	Label      string
}

// series is a value for each of the last minutes, oldest first; NaN where there was none.
type series [minutes]float64

// series reads a value off each sample.
func (v view) series(value func(monitor.Sample) float64) (s series) {
	for i := range s {
		s[i] = math.NaN()
	}
	for _, m := range v.History {
		if ago := int(v.At.Sub(m.Start) / time.Minute); ago >= 0 && ago < minutes {
			s[minutes-1-ago] = value(m)
		}
	}
	return s
}

// Hits is the hit ratio of a cache over the last hour.
func (v view) Hits(cache string) chart {
	values := v.series(func(m monitor.Sample) float64 {
		if r, ok := m.Looks[cache].Ratio(); ok {
			return r
		}
		return math.NaN()
	})
	c := values.steps(1)
	low, high := values.bounds()
	if c.Line == "" {
		c.Label = "not used in the last hour"
	} else {
		whole := func(ratio float64) int { return int(100*ratio + 1e-9) } // 99.9 % is not all; 100*0.57 is a little less than 57
		c.Label = fmt.Sprintf("hit ratio by minute over the last hour: from %d %% to %d %%", whole(low), whole(high))
	}
	return c
}

// traffic is what callers got, and what registries sent, over the last hour, to one scale.
type traffic struct {
	Served, Upstream chart
	Peak             int64 // bytes a minute
}

// Traffic is the traffic of the last hour.
func (v view) Traffic() traffic {
	served := v.series(func(m monitor.Sample) float64 { return float64(m.Served) })
	upstream := v.series(func(m monitor.Sample) float64 { return float64(m.Upstream) })
	_, most := served.bounds()
	_, other := upstream.bounds()
	most = max(most, other)
	top := max(most, 1)
	return traffic{Served: served.steps(top), Upstream: upstream.steps(top), Peak: int64(most)}
}

// bounds are the least and the greatest value, zeros where there is none.
func (s series) bounds() (low, high float64) {
	first := true
	for _, v := range s {
		switch {
		case math.IsNaN(v):
		case first:
			low, high, first = v, v, false
		default:
			low, high = min(low, v), max(high, v)
		}
	}
	return low, high
}

// steps draws values between 0 and top as steps: the line is their top, the area what is below.
func (s series) steps(top float64) chart {
	const margin = 1 // so that the line at the top and at the bottom is not cut
	var line, area strings.Builder
	open := false
	for x, value := range s {
		if math.IsNaN(value) {
			if open {
				fmt.Fprintf(&area, "V%dZ", height)
			}
			open = false
			continue
		}
		y := margin + (height-2*margin)*(1-value/top)
		if !open {
			fmt.Fprintf(&line, "M%d %.1f", x, y)
			fmt.Fprintf(&area, "M%d %d", x, height)
		}
		fmt.Fprintf(&line, "V%.1fh1", y)
		fmt.Fprintf(&area, "V%.1fh1", y)
		open = true
	}
	if open {
		fmt.Fprintf(&area, "V%dZ", height)
	}
	return chart{Line: line.String(), Area: area.String()}
}
