package faultregistry

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// Well answers as the registry behind does.
func Well(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }

// Status answers with a code, and with headers given as names and values in turn.
func Status(code int, headers ...string) Act {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

// RetryAt answers with a code and the HTTP-date form of Retry-After: in d from now.
func RetryAt(code int, d time.Duration) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		Status(code, "Retry-After", time.Now().Add(d).UTC().Format(http.TimeFormat))(w, r, next)
	}
}

// Delay waits before the headers.
func Delay(d time.Duration, then Act) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !wait(r, d) {
			panic(http.ErrAbortHandler)
		}
		then(w, r, next)
	}
}

// Stall never answers.
func Stall(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// Before runs f and then answers.
func Before(f func(), then Act) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		f()
		then(w, r, next)
	}
}

// After answers and then runs f, before the client sees the answer's end.
func After(f func(), first Act) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		first(w, r, next)
		f()
	}
}

// Answer is what the registry behind would have said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Offset int64 // of the body's first byte in what it is a part of
}

// answerOf asks the registry behind.
func answerOf(r *http.Request, next http.Handler) *Answer {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	a := &Answer{Status: rec.Code, Header: rec.Header(), Body: rec.Body.Bytes()}
	if rec.Code == http.StatusPartialContent {
		a.Offset, _, _ = rangeOf(r)
	}
	return a
}

func (a *Answer) head(w http.ResponseWriter) {
	for k, v := range a.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.Status)
}

// until is how much of the body lies before byte at of the blob.
func (a *Answer) until(at int64) int {
	return int(max(0, min(at-a.Offset, int64(len(a.Body)))))
}

// Edit changes a good answer before it is sent. The Content-Length that edit leaves is sent, right or wrong.
func Edit(edit func(*Answer)) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		a := answerOf(r, next)
		edit(a)
		a.head(w)
		if r.Method != http.MethodHead {
			_, _ = w.Write(a.Body)
		}
	}
}

// WrongByte flips a bit of byte at of the blob or manifest.
func WrongByte(at int64) Act {
	return Edit(func(a *Answer) {
		if i := a.until(at); i < len(a.Body) && int64(i) == at-a.Offset {
			a.Body = bytes.Clone(a.Body)
			a.Body[i] ^= 1
		}
	})
}

// Longer sends n bytes too many (too few where n is negative), and says so in Content-Length.
func Longer(n int) Act {
	return Edit(func(a *Answer) {
		a.Body = append(bytes.Clone(a.Body), make([]byte, max(n, 0))...)
		a.Body = a.Body[:max(0, len(a.Body)+min(n, 0))]
		a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
	})
}

// LongerUnannounced sends bytes that no Content-Length spoke of.
func LongerUnannounced(n int) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		a := answerOf(r, next)
		a.Header.Del("Content-Length")
		a.head(w)
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(append(bytes.Clone(a.Body), make([]byte, n)...))
	}
}

// Page answers with a web page, as captive portals and proxies do.
func Page(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte("<!doctype html><title>Log in to the network</title>"))
}

// Cut sends what lies before byte at and closes the connection.
func Cut(at int64) Act { return CutAnd(at, func() {}) }

// CutAnd runs f before it closes the connection.
func CutAnd(at int64, f func()) Act {
	return broken(at, func(*http.Request, http.ResponseWriter) { f() })
}

// Reset sends what lies before byte at and resets the connection. It needs a connection with SetLinger, as TCP's.
func Reset(at int64) Act {
	return broken(at, func(_ *http.Request, w http.ResponseWriter) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		if l, ok := conn.(interface{ SetLinger(sec int) error }); ok {
			_ = l.SetLinger(0)
		}
		_ = conn.Close()
	})
}

// StallAt sends what lies before byte at and then nothing more.
func StallAt(at int64) Act {
	return broken(at, func(r *http.Request, _ http.ResponseWriter) { <-r.Context().Done() })
}

// broken sends what lies before byte at, runs end, and closes the connection. A whole blob gets its headers, so that the
// break is in its body, even where at is 0.
func broken(at int64, end func(*http.Request, http.ResponseWriter)) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		a := answerOf(r, next)
		a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
		n := a.until(at)
		a.head(w)
		_, _ = w.Write(a.Body[:n])
		_ = http.NewResponseController(w).Flush()
		if n == len(a.Body) {
			return
		}
		end(r, w)
		panic(http.ErrAbortHandler)
	}
}

// Trickle sends n bytes every d from byte at on.
func Trickle(at int64, n int, d time.Duration) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		a := answerOf(r, next)
		a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
		a.head(w)
		for sent := a.until(at); ; {
			_, err := w.Write(a.Body[:sent])
			_ = http.NewResponseController(w).Flush()
			a.Body = a.Body[sent:]
			sent = min(n, len(a.Body))
			if err != nil || sent == 0 {
				return
			}
			if !wait(r, d) {
				panic(http.ErrAbortHandler)
			}
		}
	}
}

// Flood sends prefix and then n bytes.
func Flood(contentType, prefix string, n int64) Act {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(prefix))
		chunk := bytes.Repeat([]byte("x"), 64<<10)
		for ; n > 0; n -= int64(len(chunk)) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
}

// NoRange sends the whole blob with a 200, whatever part was asked for.
func NoRange(w http.ResponseWriter, r *http.Request, next http.Handler) {
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	next.ServeHTTP(w, r)
}

// OtherRange sends a range that begins and ends by bytes later (earlier where negative) than the one asked for.
func OtherRange(by int64) Act {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		first, last, ok := rangeOf(r)
		if ok {
			r = r.Clone(r.Context())
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", max(0, first+by), max(0, last+by)))
		}
		next.ServeHTTP(w, r)
	}
}

// SeveralRanges sends the range asked for as the first part of a multipart body.
func SeveralRanges(w http.ResponseWriter, r *http.Request, next http.Handler) {
	a := answerOf(r, next)
	var body bytes.Buffer
	for range 2 {
		fmt.Fprintf(&body, "\r\n--part\r\nContent-Type: application/octet-stream\r\nContent-Range: %s\r\n\r\n%s",
			a.Header.Get("Content-Range"), a.Body)
	}
	body.WriteString("\r\n--part--\r\n")
	w.Header().Set("Content-Type", "multipart/byteranges; boundary=part")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(body.Bytes())
}

// Redirect sends the client to a base address with the request's path behind it.
func Redirect(base string) Act {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Location", base+r.URL.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// Loop redirects to the same place for ever.
func Loop(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	w.Header().Set("Location", r.URL.RequestURI())
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// rangeOf reads a Range header of one range with both ends.
func rangeOf(r *http.Request) (first, last int64, ok bool) {
	spec, found := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	from, to, dash := strings.Cut(spec, "-")
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	return first, last, found && dash && err1 == nil && err2 == nil
}
