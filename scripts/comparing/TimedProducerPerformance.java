package org.apache.kafka.tools;

import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

import org.HdrHistogram.ConcurrentHistogram;
import org.HdrHistogram.HistogramIterationValue;
import org.apache.kafka.clients.ClientRequest;
import org.apache.kafka.clients.KafkaClient;
import org.apache.kafka.clients.RequestCompletionHandler;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.clients.producer.internals.Sender;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * kafka-producer-perf-test with a finer clock: the tool itself counts whole milliseconds. Its load, its arguments and what it
 * prints are its own; beside it records are timed from the same moment (just before send) to the same moment (its callback) in
 * microseconds, and those of the window are printed at the end as one line of JSON. Only the last record of each batch counts: it
 * is the one that makes the batch ready, so that it does not wait for others; with batches of one that is every record. What of
 * that time lies outside the tool is timed too, on its sender's thread: from a request's handing to the network client to its
 * answer's handing back.
 *
 *   java -Dwindow.from.seconds=F -Dwindow.seconds=W -Dbatch.records=N -Darrivals=FILE -cp CLASSES:JARS \
 *     org.apache.kafka.tools.TimedProducerPerformance ARGUMENTS
 *
 * The window is counted from the first send. When these records were sent is written to a file, so that another load can do the same.
 * Called by perf_test.py, which reads the two lines that begin with @.
 */
public class TimedProducerPerformance extends ProducerPerformance {
    private static final long FROM = nanoseconds("window.from.seconds"), LENGTH = nanoseconds("window.seconds");
    private static final ConcurrentHistogram LATENCY_US = new ConcurrentHistogram(1, 600_000_000L, 3);
    private static final ConcurrentHistogram SERVICE_US = new ConcurrentHistogram(1, 600_000_000L, 3);
    private static final int BATCH_RECORDS = Integer.getInteger("batch.records", 1);
    private static volatile long begun;
    // Of the thread that sends, which is the one that prints them.
    private static final StringBuilder ARRIVALS = new StringBuilder();
    private static long sends;

    public static void main(String[] arguments) throws Exception {
        new TimedProducerPerformance().start(arguments);
        Files.writeString(Path.of(System.getProperty("arrivals")), ARRIVALS);
        System.out.printf("@{\"latency\": %s, \"service\": %s}%n", json(LATENCY_US), json(SERVICE_US));
    }

    private static String json(ConcurrentHistogram histogram) {
        StringBuilder curve = new StringBuilder();
        for (HistogramIterationValue value : histogram.percentiles(4)) {
            curve.append(curve.length() == 0 ? "" : ", ");
            curve.append('[').append(value.getPercentileLevelIteratedTo() / 100).append(", ").append(value.getValueIteratedTo() / 1e3).append(']');
        }
        ByteBuffer bytes = ByteBuffer.allocate(histogram.getNeededByteBufferCapacity());
        byte[] whole = new byte[histogram.encodeIntoByteBuffer(bytes)];
        bytes.flip();
        bytes.get(whole);
        return String.format("{\"count\": %d, \"p50\": %s, \"p90\": %s, \"p99\": %s, \"p999\": %s, \"p9999\": %s, \"max\": %s, \"mean\": %s,"
            + " \"curve\": [%s], \"histogram\": \"%s\"}", histogram.getTotalCount(), at(histogram, 50), at(histogram, 90), at(histogram, 99),
            at(histogram, 99.9), at(histogram, 99.99), histogram.getMaxValue() / 1e3, histogram.getMean() / 1e3, curve,
            Base64.getEncoder().encodeToString(whole));
    }

    @Override
    KafkaProducer<byte[], byte[]> createKafkaProducer(Properties settings) {
        return timed(new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer()) {
            @Override
            public Future<RecordMetadata> send(ProducerRecord<byte[], byte[]> record, Callback callback) {
                long sent = System.nanoTime();
                if (begun == 0) {
                    begun = sent;
                    System.out.println("@begun");
                }
                boolean inWindow = isInWindow(sent);
                if (++sends % BATCH_RECORDS == 0 && inWindow) {
                    ARRIVALS.append((sent - begun) / 1e9).append('\n');
                }
                return super.send(record, (metadata, failure) -> {
                    if (inWindow && failure == null && metadata.offset() % BATCH_RECORDS == BATCH_RECORDS - 1) {
                        LATENCY_US.recordValue(Math.min(600_000_000L, Math.max(1, (System.nanoTime() - sent) / 1000)));
                    }
                    callback.onCompletion(metadata, failure);
                });
            }
        });
    }

    /** The same producer, its sender's network client behind one that looks at the clock. */
    private static KafkaProducer<byte[], byte[]> timed(KafkaProducer<byte[], byte[]> producer) {
        try {
            Object sender = field(KafkaProducer.class, "sender").get(producer);
            Field field = field(Sender.class, "client");
            KafkaClient client = (KafkaClient) field.get(sender);
            Map<Integer, Long> asked = new ConcurrentHashMap<>();
            field.set(sender, Proxy.newProxyInstance(KafkaClient.class.getClassLoader(), new Class<?>[] {KafkaClient.class}, (proxy, method, arguments) -> {
                if (method.getName().equals("send") && ((ClientRequest) arguments[0]).apiKey() == ApiKeys.PRODUCE) {
                    asked.put(((ClientRequest) arguments[0]).correlationId(), System.nanoTime());
                } else if (method.getName().equals("newClientRequest") && arguments.length == 6 && arguments[5] != null) {
                    RequestCompletionHandler handler = (RequestCompletionHandler) arguments[5];
                    arguments[5] = (RequestCompletionHandler) response -> {
                        Long sent = asked.remove(response.requestHeader().correlationId());
                        if (sent != null && isInWindow(sent)) {
                            SERVICE_US.recordValue(Math.min(600_000_000L, Math.max(1, (System.nanoTime() - sent) / 1000)));
                        }
                        handler.onComplete(response);
                    };
                }
                try {
                    return method.invoke(client, arguments);
                } catch (InvocationTargetException failure) {
                    throw failure.getCause();
                }
            }));
            return producer;
        } catch (ReflectiveOperationException otherVersion) {
            throw new IllegalStateException("this is not the producer of 4.3.1", otherVersion);
        }
    }

    private static Field field(Class<?> of, String name) throws NoSuchFieldException {
        Field field = of.getDeclaredField(name);
        field.setAccessible(true);
        return field;
    }

    private static boolean isInWindow(long moment) {
        return begun != 0 && moment - begun >= FROM && moment - begun < FROM + LENGTH;
    }

    private static double at(ConcurrentHistogram histogram, double percentile) {
        return histogram.getValueAtPercentile(percentile) / 1e3;
    }

    private static long nanoseconds(String property) {
        return (long) (Double.parseDouble(System.getProperty(property)) * TimeUnit.SECONDS.toNanos(1));
    }
}
