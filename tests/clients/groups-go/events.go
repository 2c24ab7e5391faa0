package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// events is the log of one member: a line for each event, appended by one write each, so that a kill of the process loses
// no line that was written and tears none.
//
//	NANOSECONDS WHO GROUP EVENT ARGUMENT...
//
// The clock is CLOCK_MONOTONIC, which all processes of a machine share. The events are listed in churn_checker.py.
type events struct {
	file       *os.File
	who, group string
}

func openEvents(who, group string) *events {
	file, err := os.OpenFile(filepath.Join(*logs, who+".events"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(err)
	return &events{file, who, group}
}

func (log *events) write(event string, arguments ...any) {
	var now unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	line := fmt.Sprintln(append([]any{now.Nano(), log.who, log.group, event}, arguments...)...)
	_, err := log.file.WriteString(line)
	must(err)
}

// partitions as `0,3,4`; none as `-`.
func partitions(assigned map[string][]int32) string {
	var words []string
	for _, partition := range slices.Sorted(slices.Values(assigned[*topic])) {
		words = append(words, strconv.Itoa(int(partition)))
	}
	return orDash(strings.Join(words, ","))
}

// offsetsText as `0=17,3=4`; none as `-`.
func offsetsText(offsets map[int32]int64) string {
	var words []string
	for _, partition := range slices.Sorted(maps.Keys(offsets)) {
		words = append(words, fmt.Sprintf("%d=%d", partition, offsets[partition]))
	}
	return orDash(strings.Join(words, ","))
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// quoted makes an error one word.
func quoted(err error) string { return strings.ReplaceAll(strconv.Quote(err.Error()), " ", "_") }
