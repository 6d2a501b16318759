package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// meterEvery is how often a line is drawn anew: often enough to look alive, too seldom to cost anything.
const meterEvery = 100 * time.Millisecond

// meter shows how far something is that takes long, when a person looks at stderr. The nil meter shows nothing.
type meter struct{ bar *progressbar.ProgressBar }

// meter starts one. It counts bytes.
func (a *app) meter(what string) *meter {
	if a.format == formatJSON || !isTerminal(a.stderr) {
		return nil
	}
	return &meter{progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(a.stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionThrottle(meterEvery),
		progressbar.OptionClearOnFinish(),
	)}
}

// set shows done of total bytes; a total that is not known is -1.
func (m *meter) set(done, total int64) {
	if m == nil {
		return
	}
	if total != m.bar.GetMax64() {
		m.bar.ChangeMax64(total)
	}
	// It fails only when the terminal does, which is no reason to end the work.
	_ = m.bar.Set64(done)
}

// stop clears the line.
func (m *meter) stop() {
	if m != nil {
		_ = m.bar.Clear()
	}
}
