package org.apache.kafka.tools;

import java.nio.ByteBuffer;
import java.util.Base64;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

import org.HdrHistogram.ConcurrentHistogram;
import org.HdrHistogram.HistogramIterationValue;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * kafka-producer-perf-test with a finer clock: the tool itself counts whole milliseconds. Its load, its arguments and what it
 * prints are its own; beside it every record is timed from the same moment (just before send) to the same moment (its callback) in
 * microseconds, and those of the window are printed at the end as one line of JSON.
 *
 *   java -Dwindow.from.seconds=F -Dwindow.seconds=W -cp CLASSES:JARS org.apache.kafka.tools.TimedProducerPerformance ARGUMENTS
 *
 * The window is counted from the first send. Called by perf_test.py, which reads the two lines that begin with @.
 */
public class TimedProducerPerformance extends ProducerPerformance {
    private static final long FROM = nanoseconds("window.from.seconds"), LENGTH = nanoseconds("window.seconds");
    private static final ConcurrentHistogram LATENCY_US = new ConcurrentHistogram(1, 600_000_000L, 3);
    private static volatile long begun;

    public static void main(String[] arguments) throws Exception {
        new TimedProducerPerformance().start(arguments);
        StringBuilder curve = new StringBuilder();
        for (HistogramIterationValue value : LATENCY_US.percentiles(4)) {
            curve.append(curve.length() == 0 ? "" : ", ");
            curve.append('[').append(value.getPercentileLevelIteratedTo() / 100).append(", ").append(value.getValueIteratedTo() / 1e3).append(']');
        }
        ByteBuffer bytes = ByteBuffer.allocate(LATENCY_US.getNeededByteBufferCapacity());
        byte[] whole = new byte[LATENCY_US.encodeIntoByteBuffer(bytes)];
        bytes.flip();
        bytes.get(whole);
        System.out.printf("@{\"count\": %d, \"p50\": %s, \"p90\": %s, \"p99\": %s, \"p999\": %s, \"p9999\": %s, \"max\": %s, \"mean\": %s,"
            + " \"curve\": [%s], \"histogram\": \"%s\"}%n", LATENCY_US.getTotalCount(), at(50), at(90), at(99), at(99.9), at(99.99),
            LATENCY_US.getMaxValue() / 1e3, LATENCY_US.getMean() / 1e3, curve, Base64.getEncoder().encodeToString(whole));
    }

    @Override
    KafkaProducer<byte[], byte[]> createKafkaProducer(Properties settings) {
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer()) {
            @Override
            public Future<RecordMetadata> send(ProducerRecord<byte[], byte[]> record, Callback callback) {
                long sent = System.nanoTime();
                if (begun == 0) {
                    begun = sent;
                    System.out.println("@begun");
                }
                boolean counts = sent - begun >= FROM && sent - begun < FROM + LENGTH;
                return super.send(record, (metadata, failure) -> {
                    if (counts) {
                        LATENCY_US.recordValue(Math.min(600_000_000L, Math.max(1, (System.nanoTime() - sent) / 1000)));
                    }
                    callback.onCompletion(metadata, failure);
                });
            }
        };
    }

    private static double at(double percentile) {
        return LATENCY_US.getValueAtPercentile(percentile) / 1e3;
    }

    private static long nanoseconds(String property) {
        return (long) (Double.parseDouble(System.getProperty(property)) * TimeUnit.SECONDS.toNanos(1));
    }
}
