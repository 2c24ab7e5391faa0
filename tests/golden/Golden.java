// Writes the files of this directory with Apache Kafka's own classes, so that our codec is held against bytes that
// none of us wrote. Needed only to make them anew:
//   java -cp 'kafka-clients-4.3.1.jar:lz4-java.jar:snappy-java.jar:zstd-jni.jar:slf4j-api.jar' Golden.java DIRECTORY

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.FetchRequestData;
import org.apache.kafka.common.message.FetchResponseData;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.message.ProduceResponseData;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.TimestampType;

public class Golden {
    static Path directory;

    public static void main(String[] args) throws Exception {
        directory = Path.of(args[0]);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            write("batch-" + codec, batch(Compression.of(codec).build()).buffer());
            if (!codec.equals("none")) {
                write("large-" + codec, large(Compression.of(codec).build()).buffer());
            }
        }
        MemoryRecords records = batch(Compression.NONE);
        for (short version = 3; version <= 9; version++) {
            write("produce-request-" + version, frame(header(ApiKeys.PRODUCE, version), ApiKeys.PRODUCE.requestHeaderVersion(version), produce(records), version));
            write("produce-response-" + version, frame(answer(), ApiKeys.PRODUCE.responseHeaderVersion(version), produced(version), version));
        }
        for (short version = 4; version <= 12; version++) {
            write("fetch-request-" + version, frame(header(ApiKeys.FETCH, version), ApiKeys.FETCH.requestHeaderVersion(version), fetch(version), version));
            write("fetch-response-" + version, frame(answer(), ApiKeys.FETCH.responseHeaderVersion(version), fetched(version, records), version));
        }
    }

    /// Four records: nulls, empties, repeated header keys, and a timestamp that does not rise.
    static MemoryRecords batch(Compression compression) {
        MemoryRecordsBuilder builder = new MemoryRecordsBuilder(ByteBuffer.allocate(65536), (byte) 2, compression,
            TimestampType.CREATE_TIME, 0L, 0L, 4000L, (short) 3, 17, false, false, 5, 65536);
        Header[] headers = { new RecordHeader("h", bytes("1")), new RecordHeader("h", null), new RecordHeader("", new byte[0]) };
        builder.append(1700000000000L, bytes("key"), bytes("value"));
        builder.append(1700000000500L, null, bytes("a value that repeats, a value that repeats, a value that repeats"));
        builder.append(1700000000250L, bytes("tombstone"), null, headers);
        builder.append(1700000000400L, new byte[0], new byte[0]);
        return builder.build();
    }

    /// One record of 300,000 bytes: several blocks in every codec's framing.
    static MemoryRecords large(Compression compression) {
        MemoryRecordsBuilder builder = new MemoryRecordsBuilder(ByteBuffer.allocate(65536), (byte) 2, compression,
            TimestampType.CREATE_TIME, 0L, 0L, -1L, (short) -1, -1, false, false, -1, 65536);
        builder.append(1700000000000L, null, bytes("0123456789".repeat(30000)));
        return builder.build();
    }

    static ProduceRequestData produce(MemoryRecords records) {
        ProduceRequestData data = new ProduceRequestData().setAcks((short) -1).setTimeoutMs(30000);
        for (String name : List.of("first", "second.topic")) {
            ProduceRequestData.TopicProduceData topic = new ProduceRequestData.TopicProduceData().setName(name);
            topic.partitionData().add(new ProduceRequestData.PartitionProduceData().setIndex(0).setRecords(records));
            topic.partitionData().add(new ProduceRequestData.PartitionProduceData().setIndex(7).setRecords(null));
            data.topicData().add(topic);
        }
        return data;
    }

    static ProduceResponseData produced(short version) {
        ProduceResponseData.TopicProduceResponse topic = new ProduceResponseData.TopicProduceResponse().setName("first");
        topic.partitionResponses().add(new ProduceResponseData.PartitionProduceResponse().setIndex(0).setBaseOffset(123456789012L)
            .setLogAppendTimeMs(-1).setLogStartOffset(version >= 5 ? 42 : -1));
        ProduceResponseData.PartitionProduceResponse refused = new ProduceResponseData.PartitionProduceResponse().setIndex(7)
            .setErrorCode((short) 87).setBaseOffset(-1).setLogAppendTimeMs(-1).setLogStartOffset(-1);
        if (version >= 8) {
            refused.recordErrors().add(new ProduceResponseData.BatchIndexAndErrorMessage().setBatchIndex(2).setBatchIndexErrorMessage("no key"));
            refused.setErrorMessage("One or more records have been rejected");
        }
        topic.partitionResponses().add(refused);
        ProduceResponseData data = new ProduceResponseData().setThrottleTimeMs(0);
        data.responses().add(topic);
        return data;
    }

    static FetchRequestData fetch(short version) {
        FetchRequestData data = new FetchRequestData().setMaxWaitMs(500).setMinBytes(1).setMaxBytes(52428800).setIsolationLevel((byte) 1);
        if (version >= 7) {
            data.setSessionId(0).setSessionEpoch(-1);
            data.forgottenTopicsData().add(new FetchRequestData.ForgottenTopic().setTopic("gone").setPartitions(List.of(1, 2)));
        }
        if (version >= 11) {
            data.setRackId("rack-a");
        }
        for (String name : List.of("first", "second.topic")) {
            FetchRequestData.FetchTopic topic = new FetchRequestData.FetchTopic().setTopic(name);
            for (int partition = 0; partition < 2; partition++) {
                FetchRequestData.FetchPartition one = new FetchRequestData.FetchPartition().setPartition(partition)
                    .setFetchOffset(1000000000000L + partition).setPartitionMaxBytes(1048576);
                if (version >= 5) one.setLogStartOffset(-1);
                if (version >= 9) one.setCurrentLeaderEpoch(9);
                if (version >= 12) one.setLastFetchedEpoch(-1);
                topic.partitions().add(one);
            }
            data.topics().add(topic);
        }
        return data;
    }

    static FetchResponseData fetched(short version, MemoryRecords records) {
        FetchResponseData.FetchableTopicResponse topic = new FetchResponseData.FetchableTopicResponse().setTopic("first");
        topic.partitions().add(new FetchResponseData.PartitionData().setPartitionIndex(0).setHighWatermark(1000)
            .setLastStableOffset(1000).setLogStartOffset(5).setAbortedTransactions(null).setRecords(records));
        topic.partitions().add(new FetchResponseData.PartitionData().setPartitionIndex(1).setErrorCode((short) 1).setHighWatermark(-1)
            .setLastStableOffset(-1).setLogStartOffset(-1).setAbortedTransactions(null).setRecords(MemoryRecords.EMPTY));
        FetchResponseData data = new FetchResponseData().setThrottleTimeMs(0);
        data.responses().add(topic);
        return data;
    }

    static RequestHeaderData header(ApiKeys key, short version) {
        return new RequestHeaderData().setRequestApiKey(key.id).setRequestApiVersion(version).setCorrelationId(77).setClientId("golden");
    }

    static ResponseHeaderData answer() {
        return new ResponseHeaderData().setCorrelationId(77);
    }

    static ByteBuffer frame(Message header, short headerVersion, Message body, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        int size = header.size(cache, headerVersion) + body.size(cache, version);
        ByteBuffer buffer = ByteBuffer.allocate(4 + size);
        buffer.putInt(size);
        ByteBufferAccessor accessor = new ByteBufferAccessor(buffer);
        header.write(accessor, cache, headerVersion);
        body.write(accessor, cache, version);
        buffer.flip();
        return buffer;
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static void write(String name, ByteBuffer buffer) throws Exception {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        Files.write(directory.resolve(name + ".bin"), bytes);
    }
}
