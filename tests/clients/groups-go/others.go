package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// produce writes numbered records, each partition with numbers of its own, until stdin ends. Idempotent, acks=all, never
// giving up: what is acknowledged is acknowledged once.
func produce(stop io.Reader) {
	log := openEvents("producer", "-")
	client, err := kgo.NewClient(kgo.SeedBrokers(*server), kgo.DefaultProduceTopic(*topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(10*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }))
	must(err)
	count := partitionCount(client)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, stop)
		close(ended)
	}()
	ticks := time.NewTicker(time.Second / time.Duration(*rate))
	for total := 0; ; total++ {
		select {
		case <-ended:
			must(client.Flush(context.Background()))
			client.Close()
			log.write("left")
			return
		case <-ticks.C:
		}
		record := &kgo.Record{Partition: int32(total % count), Value: []byte(strconv.Itoa(total / count))}
		client.Produce(context.Background(), record, func(record *kgo.Record, err error) {
			if err != nil {
				log.write("failed", record.Partition, string(record.Value), quoted(err))
				return
			}
			log.write("produced", record.Partition, record.Offset, string(record.Value))
		})
	}
}

// partitionCount asks for the topic, which is made by that if it is not there yet.
func partitionCount(client *kgo.Client) int {
	request := kmsg.NewPtrMetadataRequest()
	request.AllowAutoTopicCreation = true
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = topic
	request.Topics = append(request.Topics, asked)
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		response, err := request.RequestWith(context.Background(), client)
		if err == nil {
			err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
		}
		if err == nil {
			return len(response.Topics[0].Partitions)
		} else if time.Now().After(until) {
			must(err)
		}
	}
}

// committed asks the coordinator; a partition without a committed offset answers -1.
func committed(ctx context.Context, client *kgo.Client, group string, of []int32) (map[int32]int64, error) {
	request := kmsg.NewPtrOffsetFetchRequest()
	asked := kmsg.NewOffsetFetchRequestGroup()
	asked.Group = group
	partitions := kmsg.NewOffsetFetchRequestGroupTopic()
	partitions.Topic, partitions.Partitions = *topic, of
	asked.Topics = append(asked.Topics, partitions)
	request.Groups = append(request.Groups, asked)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(response.Groups[0].ErrorCode); err != nil {
		return nil, err
	}
	offsets := map[int32]int64{}
	for _, topic := range response.Groups[0].Topics {
		for _, partition := range topic.Partitions {
			if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
				return nil, err
			}
			offsets[partition.Partition] = partition.Offset
		}
	}
	return offsets, nil
}

// printOffsets prints what each group has committed beside where each partition ends.
func printOffsets() {
	client, err := kgo.NewClient(kgo.SeedBrokers(*server))
	must(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var all []int32
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = *topic
	for partition := range partitionCount(client) {
		end := kmsg.NewListOffsetsRequestTopicPartition()
		end.Partition, end.Timestamp = int32(partition), -1
		asked.Partitions = append(asked.Partitions, end)
		all = append(all, int32(partition))
	}
	request.Topics = append(request.Topics, asked)
	response, err := request.RequestWith(ctx, client)
	must(err)
	ends := map[int32]int64{}
	for _, partition := range response.Topics[0].Partitions {
		must(kerr.ErrorForCode(partition.ErrorCode))
		ends[partition.Partition] = partition.Offset
	}
	for _, group := range strings.Split(*groups, ",") {
		offsets, err := committed(ctx, client, group, all)
		must(err)
		for _, partition := range all {
			fmt.Println(group, partition, offsets[partition], ends[partition])
		}
	}
}

// heartbeat keeps stable groups whose members do nothing but say that they live: what groups cost when nothing happens. It
// prints a line when all are in.
func heartbeat(stop io.Reader) {
	count, err := strconv.Atoi(*groups)
	must(err)
	maker, err := kgo.NewClient(kgo.SeedBrokers(*server))
	must(err)
	partitionCount(maker)
	maker.Close()
	var joined sync.WaitGroup
	joined.Add(*members)
	for index := range *members {
		var once sync.Once
		_, err := kgo.NewClient(kgo.SeedBrokers(*server), kgo.ConsumerGroup(fmt.Sprintf("beating-%d", index%count)),
			kgo.ConsumeTopics(*topic), kgo.DisableAutoCommit(), kgo.Balancers(kgo.RangeBalancer()),
			kgo.OnPartitionsAssigned(func(_ context.Context, client *kgo.Client, _ map[string][]int32) {
				client.PauseFetchTopics(*topic) // nothing is read: the node hears heartbeats only
				once.Do(joined.Done)
			}))
		must(err)
	}
	joined.Wait()
	fmt.Printf("%d members of %d groups are heartbeating\n", *members, count)
	_, _ = io.Copy(io.Discard, stop)
}
