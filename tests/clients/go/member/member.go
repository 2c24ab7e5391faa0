// Package member is what the Go programs share of the contract in families.py: records in hexadecimal, and the event
// log of a member.
package member

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Header is one of a record's headers.
type Header struct {
	Name  string
	Value []byte
}

// Record is one line of the file that `produce` sends.
type Record struct {
	Key, Value []byte
	Headers    []Header
}

func unhex(text string) []byte {
	if text == "-" {
		return nil
	}
	data, err := hex.DecodeString(text)
	Must(err)
	return data
}

func asHex(data []byte) string {
	if data == nil {
		return "-"
	}
	return hex.EncodeToString(data)
}

// Must ends the program on an error.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Records reads the whole of a file.
func Records(path string) []Record {
	file, err := os.Open(path)
	Must(err)
	defer file.Close()
	var records []Record
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		record := Record{Key: unhex(fields[0]), Value: unhex(fields[1])}
		for _, pair := range strings.FieldsFunc(fields[2], func(char rune) bool { return char == ',' }) {
			name, value, _ := strings.Cut(pair, "=")
			record.Headers = append(record.Headers, Header{name, unhex(value)})
		}
		records = append(records, record)
	}
	Must(lines.Err())
	return records
}

// Offsets are next offsets by partition.
type Offsets map[int32]int64

func (offsets Offsets) String() string {
	var words []string
	for partition, offset := range offsets {
		words = append(words, fmt.Sprintf("%d:%d", partition, offset))
	}
	sort.Strings(words)
	return strings.Join(words, " ")
}

// Log is the event log of one member. It keeps the positions that are delivered and not committed yet.
type Log struct {
	// Stopping ends with SIGTERM.
	Stopping  context.Context
	mutex     sync.Mutex
	commits   sync.Mutex
	file      *os.File
	lines     strings.Builder
	positions Offsets
	pending   int
	every     int
}

func (log *Log) event(kind string, words string) {
	fmt.Fprintf(&log.lines, "%d %s %s\n", time.Now().UnixMilli(), kind, words)
}

func (log *Log) flush() {
	_, err := log.file.WriteString(log.lines.String())
	Must(err)
	log.lines.Reset()
}

// Flush writes what was delivered so far; it outlives the process, which the driver ends by SIGKILL.
func (log *Log) Flush() {
	log.mutex.Lock()
	defer log.mutex.Unlock()
	log.flush()
}

// Delivered takes one record; true when it is time to commit.
func (log *Log) Delivered(partition int32, offset int64, key, value []byte, headers []Header) bool {
	log.mutex.Lock()
	defer log.mutex.Unlock()
	var pairs []string
	for _, header := range headers {
		pairs = append(pairs, header.Name+"="+asHex(header.Value))
	}
	log.event("R", fmt.Sprintf("%d %d %s %s %s", partition, offset, asHex(key), asHex(value), strings.Join(pairs, ",")))
	log.positions[partition] = offset + 1
	log.pending++
	return log.pending >= log.every
}

// Commit has `send` commit what is delivered and not committed; one at a time.
func (log *Log) Commit(send func(Offsets) error) {
	log.commits.Lock()
	defer log.commits.Unlock()
	log.mutex.Lock()
	taken := log.positions
	log.positions, log.pending = Offsets{}, 0
	if len(taken) > 0 {
		log.event("T", taken.String())
	}
	log.flush()
	log.mutex.Unlock()
	if len(taken) == 0 {
		return
	}
	err := send(taken)
	log.mutex.Lock()
	defer log.mutex.Unlock()
	if err != nil {
		log.event("E", strings.ReplaceAll(err.Error(), "\n", " "))
	} else {
		log.event("C", taken.String())
	}
	log.flush()
}

func words(partitions []int32) string {
	return strings.Trim(fmt.Sprint(partitions), "[]")
}

// Assigned says that these are this member's now.
func (log *Log) Assigned(partitions []int32) {
	log.mutex.Lock()
	defer log.mutex.Unlock()
	log.event("A", words(partitions))
	log.flush()
}

// Revoked says that these are another member's from now on.
func (log *Log) Revoked(partitions []int32) {
	log.mutex.Lock()
	defer log.mutex.Unlock()
	for _, partition := range partitions {
		delete(log.positions, partition)
	}
	log.event("V", words(partitions))
	log.flush()
}

// Failed notes what went wrong on the way.
func (log *Log) Failed(err error) {
	log.mutex.Lock()
	defer log.mutex.Unlock()
	log.event("E", strings.ReplaceAll(err.Error(), "\n", " "))
	log.flush()
}

// Run runs one of the two with the arguments of the command line.
func Run(produce func(broker, topic string, records []Record, codec string), consume func(broker, topic, group string, log *Log)) {
	arguments := os.Args[1:]
	switch {
	case len(arguments) == 5 && arguments[0] == "produce":
		produce(arguments[1], arguments[2], Records(arguments[3]), arguments[4])
	case len(arguments) == 6 && arguments[0] == "consume":
		every, err := strconv.Atoi(arguments[5])
		Must(err)
		file, err := os.OpenFile(arguments[4], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		Must(err)
		stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		consume(arguments[1], arguments[2], arguments[3], &Log{Stopping: stopping, file: file, positions: Offsets{}, every: every})
	default:
		Must(fmt.Errorf("usage: produce BROKER TOPIC FILE CODEC | consume BROKER TOPIC GROUP LOG EVERY"))
	}
}
