// sarama under the contract of families.py; its members use the sticky assignor.
package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"ringmain/clients/member"
)

var codecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

// encoder tells a key or value that is not there from one that is empty.
func encoder(data []byte) sarama.Encoder {
	if data == nil {
		return nil
	}
	return sarama.ByteEncoder(data)
}

func produce(broker, topic string, records []member.Record, codec string) {
	config := sarama.NewConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Compression = codecs[codec]
	config.Producer.Return.Successes = true
	producer, err := sarama.NewSyncProducer([]string{broker}, config)
	member.Must(err)
	messages := make([]*sarama.ProducerMessage, len(records))
	for index, record := range records {
		messages[index] = &sarama.ProducerMessage{Topic: topic, Key: encoder(record.Key), Value: encoder(record.Value)}
		for _, header := range record.Headers {
			messages[index].Headers = append(messages[index].Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
		}
	}
	for len(messages) > 0 {
		some := min(len(messages), 1000)
		member.Must(producer.SendMessages(messages[:some]))
		messages = messages[some:]
	}
	member.Must(producer.Close())
}

type handler struct {
	log    *member.Log
	admin  sarama.ClusterAdmin
	topic  string
	group  string
	claims []int32
}

func (h *handler) Setup(session sarama.ConsumerGroupSession) error {
	h.claims = session.Claims()[h.topic]
	h.log.Assigned(h.claims)
	return nil
}

func (h *handler) Cleanup(session sarama.ConsumerGroupSession) error {
	h.commit(session)
	h.log.Revoked(h.claims)
	return nil
}

// commit asks the broker what it has afterwards: the session's own Commit tells nobody how it went.
func (h *handler) commit(session sarama.ConsumerGroupSession) {
	h.log.Commit(func(offsets member.Offsets) error {
		var partitions []int32
		for partition, offset := range offsets {
			session.MarkOffset(h.topic, partition, offset, "")
			partitions = append(partitions, partition)
		}
		session.Commit()
		found, err := h.admin.ListConsumerGroupOffsets(h.group, map[string][]int32{h.topic: partitions})
		if err != nil {
			return err
		}
		for partition, offset := range offsets {
			block := found.GetBlock(h.topic, partition)
			if block == nil || block.Offset < offset {
				return fmt.Errorf("partition %d is not committed up to %d", partition, offset)
			}
		}
		return nil
	})
}

func (h *handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	idle := time.NewTicker(100 * time.Millisecond)
	defer idle.Stop()
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			var headers []member.Header
			for _, header := range message.Headers {
				headers = append(headers, member.Header{Name: string(header.Key), Value: header.Value})
			}
			if h.log.Delivered(message.Partition, message.Offset, message.Key, message.Value, headers) {
				h.commit(session)
			}
		case <-idle.C:
			h.log.Flush()
		case <-session.Context().Done():
			return nil
		}
	}
}

func consume(broker, topic, group string, log *member.Log) {
	config := sarama.NewConfig()
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = time.Second
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategySticky()}
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Return.Errors = true
	consumer, err := sarama.NewConsumerGroup([]string{broker}, group, config)
	member.Must(err)
	admin, err := sarama.NewClusterAdmin([]string{broker}, config)
	member.Must(err)
	go func() {
		for err := range consumer.Errors() {
			log.Failed(err)
		}
	}()
	h := &handler{log: log, admin: admin, topic: topic, group: group}
	for log.Stopping.Err() == nil {
		if err := consumer.Consume(log.Stopping, []string{topic}, h); err != nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
			log.Failed(err)
			time.Sleep(100 * time.Millisecond)
		}
	}
	member.Must(consumer.Close())
}

func main() {
	member.Run(produce, consume)
}
