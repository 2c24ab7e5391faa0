// segmentio/kafka-go under the contract of families.py, with its default assignors (range, then round robin).
package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"ringmain/clients/member"
)

var codecs = map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}

func produce(broker, topic string, records []member.Record, codec string) {
	writer := &kafka.Writer{
		Addr: kafka.TCP(broker), Topic: topic, Balancer: &kafka.Hash{}, BatchTimeout: 5 * time.Millisecond, BatchSize: 1000,
		RequiredAcks: kafka.RequireAll, Compression: codecs[codec],
	}
	messages := make([]kafka.Message, len(records))
	for index, record := range records {
		messages[index] = kafka.Message{Key: record.Key, Value: record.Value}
		for _, header := range record.Headers {
			messages[index].Headers = append(messages[index].Headers, kafka.Header{Key: header.Name, Value: header.Value})
		}
	}
	for len(messages) > 0 {
		some := min(len(messages), 1000)
		member.Must(writer.WriteMessages(context.Background(), messages[:some]...))
		messages = messages[some:]
	}
	member.Must(writer.Close())
}

func consume(broker, topic, group string, log *member.Log) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{broker}, GroupID: group, Topic: topic, StartOffset: kafka.FirstOffset, MaxWait: 200 * time.Millisecond,
		SessionTimeout: 6 * time.Second, HeartbeatInterval: time.Second, JoinGroupBackoff: time.Second,
		// The reader tells what it was assigned to its logger alone.
		Logger: kafka.LoggerFunc(func(text string, arguments ...any) {
			if !strings.HasPrefix(text, "subscribed to topics and partitions") {
				return
			}
			var partitions []int32
			for _, found := range regexp.MustCompile(`partition:(\d+)`).FindAllStringSubmatch(fmt.Sprintf("%+v", arguments), -1) {
				partition, err := strconv.Atoi(found[1])
				member.Must(err)
				partitions = append(partitions, int32(partition))
			}
			log.Assigned(partitions)
		}),
		ErrorLogger: kafka.LoggerFunc(func(text string, arguments ...any) {}),
	})
	commit := func() {
		log.Commit(func(offsets member.Offsets) error {
			var messages []kafka.Message
			for partition, offset := range offsets {
				messages = append(messages, kafka.Message{Topic: topic, Partition: int(partition), Offset: offset - 1})
			}
			return reader.CommitMessages(context.Background(), messages...)
		})
	}
	for log.Stopping.Err() == nil {
		waiting, stop := context.WithTimeout(log.Stopping, 200*time.Millisecond)
		message, err := reader.FetchMessage(waiting)
		stop()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
				log.Failed(err)
			}
			log.Flush()
			continue
		}
		var headers []member.Header
		for _, header := range message.Headers {
			headers = append(headers, member.Header{Name: header.Key, Value: header.Value})
		}
		if log.Delivered(int32(message.Partition), message.Offset, message.Key, message.Value, headers) {
			commit()
		}
	}
	commit()
	member.Must(reader.Close())
}

func main() {
	member.Run(produce, consume)
}
