// franz-go under the contract of families.py, with its default assignor (cooperative sticky).
package main

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"ringmain/clients/member"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func produce(broker, topic string, records []member.Record, codec string) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codecs[codec]),
		kgo.ProducerLinger(5*time.Millisecond),
	)
	member.Must(err)
	for _, record := range records {
		sent := &kgo.Record{Key: record.Key, Value: record.Value}
		for _, header := range record.Headers {
			sent.Headers = append(sent.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
		}
		client.Produce(context.Background(), sent, func(_ *kgo.Record, err error) { member.Must(err) })
	}
	member.Must(client.Flush(context.Background()))
	client.Close()
}

func consume(broker, topic, group string, log *member.Log) {
	commit := func(client *kgo.Client) {
		log.Commit(func(offsets member.Offsets) (failure error) {
			commits := map[int32]kgo.EpochOffset{}
			for partition, offset := range offsets {
				commits[partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
			}
			done := func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
				failure = err
				if err != nil {
					return
				}
				for _, topic := range response.Topics {
					for _, partition := range topic.Partitions {
						failure = errors.Join(failure, kerr.ErrorForCode(partition.ErrorCode))
					}
				}
			}
			client.CommitOffsetsSync(context.Background(), map[string]map[int32]kgo.EpochOffset{topic: commits}, done)
			return failure
		})
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(time.Second), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) { log.Assigned(assigned[topic]) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, client *kgo.Client, revoked map[string][]int32) {
			commit(client)
			log.Revoked(revoked[topic])
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { log.Revoked(lost[topic]) }),
	)
	member.Must(err)
	for log.Stopping.Err() == nil {
		fetches := client.PollRecords(log.Stopping, 500)
		fetches.EachError(func(_ string, _ int32, err error) {
			if !errors.Is(err, context.Canceled) {
				log.Failed(err)
			}
		})
		fetches.EachRecord(func(record *kgo.Record) {
			var headers []member.Header
			for _, header := range record.Headers {
				headers = append(headers, member.Header{Name: header.Key, Value: header.Value})
			}
			if log.Delivered(record.Partition, record.Offset, record.Key, record.Value, headers) {
				commit(client)
			}
		})
		log.Flush()
		client.AllowRebalance()
	}
	commit(client)
	client.CloseAllowingRebalance()
}

func main() {
	member.Run(produce, consume)
}
