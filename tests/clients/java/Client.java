import java.io.FileOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** kafka-clients under the contract of families.py; its members rebalance cooperatively. */
public class Client {
    private static final HexFormat HEX = HexFormat.of();

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 5 && arguments[0].equals("produce")) {
            produce(arguments[1], arguments[2], Path.of(arguments[3]), arguments[4]);
        } else if (arguments.length == 6 && arguments[0].equals("consume")) {
            consume(arguments[1], arguments[2], arguments[3], new Log(arguments[4], Integer.parseInt(arguments[5])));
        } else {
            System.err.println("usage: produce BROKER TOPIC FILE CODEC | consume BROKER TOPIC GROUP LOG EVERY");
            System.exit(2);
        }
    }

    private static byte[] unhex(String text) {
        return text.equals("-") ? null : HEX.parseHex(text);
    }

    private static String asHex(byte[] data) {
        return data == null ? "-" : HEX.formatHex(data);
    }

    private static void produce(String broker, String topic, Path file, String codec) throws Exception {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", broker, "compression.type", codec, "linger.ms", 5,
            "key.serializer", ByteArraySerializer.class, "value.serializer", ByteArraySerializer.class);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<byte[], byte[]>(config)) {
            for (String line : Files.readAllLines(file)) {
                String[] fields = line.split("\t", -1);
                var record = new ProducerRecord<>(topic, unhex(fields[0]), unhex(fields[1]));
                for (String pair : fields[2].isEmpty() ? new String[0] : fields[2].split(",")) {
                    String[] parts = pair.split("=", -1);
                    record.headers().add(parts[0], unhex(parts[1]));
                }
                sent.add(producer.send(record));
            }
            for (var one : sent) {
                one.get();
            }
        }
    }

    private static void consume(String broker, String topic, String group, Log log) throws Exception {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", broker, "group.id", group, "session.timeout.ms", 6000, "heartbeat.interval.ms", 1000,
            "auto.offset.reset", "earliest", "enable.auto.commit", false,
            "partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
            "key.deserializer", ByteArrayDeserializer.class, "value.deserializer", ByteArrayDeserializer.class);
        Thread main = Thread.currentThread();
        try (var consumer = new KafkaConsumer<byte[], byte[]>(config)) {
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                log.stopping = true;
                try {
                    main.join();
                } catch (InterruptedException ignored) {
                    // The process is on its way out.
                }
                // A clean end is no failure, though SIGTERM asked for it.
                Runtime.getRuntime().halt(log.ended ? 0 : 1);
            }));
            consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
                    log.assigned(assigned);
                }

                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
                    log.commit(consumer, topic);
                    log.revoked(revoked);
                }

                @Override
                public void onPartitionsLost(Collection<TopicPartition> lost) {
                    log.revoked(lost);
                }
            });
            while (!log.stopping) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    if (log.delivered(record)) {
                        log.commit(consumer, topic);
                    }
                }
                log.flush();
            }
            log.commit(consumer, topic);
        }
        log.ended = true;
    }

    /** The event log of one member. It keeps the positions that are delivered and not committed yet. */
    private static final class Log {
        private final FileOutputStream file;
        private final int every;
        private final StringBuilder lines = new StringBuilder();
        private Map<Integer, Long> positions = new TreeMap<>();
        private int pending;
        private volatile boolean stopping;
        private volatile boolean ended;

        Log(String path, int every) throws IOException {
            this.file = new FileOutputStream(path, true);
            this.every = every;
        }

        void event(String kind, String words) {
            lines.append(System.currentTimeMillis()).append(' ').append(kind).append(' ').append(words).append('\n');
        }

        /** What is flushed outlives the process: the driver ends it by SIGKILL. */
        void flush() {
            try {
                file.write(lines.toString().getBytes(StandardCharsets.US_ASCII));
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            lines.setLength(0);
        }

        /** Takes one record; true when it is time to commit. */
        boolean delivered(ConsumerRecord<byte[], byte[]> record) {
            List<String> pairs = new ArrayList<>();
            for (Header header : record.headers()) {
                pairs.add(header.key() + "=" + asHex(header.value()));
            }
            event("R", record.partition() + " " + record.offset() + " " + asHex(record.key()) + " " + asHex(record.value())
                + " " + String.join(",", pairs));
            positions.put(record.partition(), record.offset() + 1);
            return ++pending >= every;
        }

        void commit(KafkaConsumer<byte[], byte[]> consumer, String topic) {
            Map<Integer, Long> taken = positions;
            positions = new TreeMap<>();
            pending = 0;
            String words = taken.entrySet().stream().map(one -> one.getKey() + ":" + one.getValue()).collect(Collectors.joining(" "));
            if (!taken.isEmpty()) {
                event("T", words);
            }
            flush();
            if (taken.isEmpty()) {
                return;
            }
            try {
                consumer.commitSync(taken.entrySet().stream().collect(Collectors.toMap(
                    one -> new TopicPartition(topic, one.getKey()), one -> new OffsetAndMetadata(one.getValue()))));
                event("C", words);
            } catch (KafkaException error) {
                event("E", error.toString().replace('\n', ' '));
            }
            flush();
        }

        private static String words(Collection<TopicPartition> partitions) {
            return partitions.stream().map(one -> Integer.toString(one.partition())).sorted().collect(Collectors.joining(" "));
        }

        void assigned(Collection<TopicPartition> partitions) {
            event("A", words(partitions));
            flush();
        }

        /** These are another member's from now on. */
        void revoked(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> positions.remove(partition.partition()));
            event("V", words(partitions));
            flush();
        }
    }
}
