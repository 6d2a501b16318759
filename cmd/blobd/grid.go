package main

import (
	"strings"
	"unicode/utf8"
)

// column is one of a grid. The flexible one gives way where a line would be too long.
type column struct {
	title    string
	right    bool // its values are numbers
	flexible bool
}

// leastFlexible is how narrow a flexible column gets at most.
const leastFlexible = 8

// grid aligns rows below their titles, with no line longer than width where that is above 0. Each character is taken to be
// one place wide.
func grid(columns []column, rows [][]string, width int) []string {
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
		}
	}
	widths := make([]int, len(columns))
	total := 2 * (len(columns) - 1)
	for i, c := range columns {
		widths[i] = utf8.RuneCountInString(c.title)
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		total += widths[i]
	}
	for i, c := range columns {
		if over := total - width; width > 0 && over > 0 && c.flexible {
			less := min(over, max(widths[i]-leastFlexible, 0))
			widths[i] -= less
			total -= less
		}
	}
	lines := make([]string, 0, len(rows)+1)
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	for _, row := range append([][]string{titles}, rows...) {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			line.WriteString(pad(cut(cell, widths[i]), widths[i], columns[i].right))
		}
		lines = append(lines, fit(strings.TrimRight(line.String(), " "), width))
	}
	return lines
}

// pad fills s up to width.
func pad(s string, width int, left bool) string {
	space := strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
	if left {
		return space + s
	}
	return s + space
}

// cut leaves out the end of what is longer than width.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	if width < 1 {
		return ""
	}
	return string([]rune(s)[:width-1]) + "…"
}

// fit is cut where there is a width.
func fit(s string, width int) string {
	if width <= 0 {
		return s
	}
	return cut(s, width)
}

// wrap breaks a text into lines of at most width, at spaces where there are any, each indented.
func wrap(text string, width int, indent string) []string {
	width = max(width-len(indent), leastFlexible)
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		for utf8.RuneCountInString(word) > width { // a digest, in a narrow terminal
			if line != "" {
				lines, line = append(lines, indent+line), ""
			}
			runes := []rune(word)
			lines, word = append(lines, indent+string(runes[:width])), string(runes[width:])
		}
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, indent+line), word
		}
	}
	if line != "" {
		lines = append(lines, indent+line)
	}
	return lines
}
