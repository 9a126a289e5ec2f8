package forebay.rivals;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A careful worker with Kafka's own clients: poll 512 records, predict them in one batch, send, and commit every 100 ms or
 * 10,000 records, with the offsets in a transaction or after a flush. While it predicts a batch, the producer's thread sends
 * the ones before.
 */
public final class PlainWorker {
    private final Job job;
    private final Model model;
    private final EventCodec codec;
    private final String[] ids;
    private final long[] timestamps;
    private final int[] places;
    private volatile Exception failure;

    private PlainWorker(Job job) throws Exception {
        this.job = job;
        int batch = job.number("poll_records");
        model = new Model(job.text("onnx"), batch);
        codec = new EventCodec(job, model.features);
        ids = new String[batch];
        timestamps = new long[batch];
        places = new int[batch];
    }

    /** Drains the topic once, or, where the job has a topic for warming up, once into that and once into its own. */
    public static void main(String[] arguments) throws Exception {
        Job job = Job.parse(arguments[0]);
        PlainWorker worker = new PlainWorker(job);
        String warmUp = job.text("warm_up");
        if (!warmUp.isEmpty()) {
            worker.run(warmUp, "-warm-up", new Stopwatch(job.number("events")));
        }
        Stopwatch watch = new Stopwatch(job.number("events"));
        worker.run(job.text("predictions"), "", watch);
        watch.printResult();
    }

    private void run(String predictions, String suffix, Stopwatch watch) throws Exception {
        String group = job.text("group_id") + suffix;
        Map<String, Object> consuming = Clients.consumer(job);
        consuming.put("group.id", group);
        Map<String, Object> producing = Clients.producer(job);
        if (job.exactlyOnce()) {
            producing.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, group);
        }
        try (KafkaConsumer<byte[], byte[]> consumer =
                        new KafkaConsumer<>(consuming, new ByteArrayDeserializer(), new ByteArrayDeserializer());
                KafkaProducer<byte[], byte[]> producer =
                        new KafkaProducer<>(producing, new ByteArraySerializer(), new ByteArraySerializer())) {
            if (job.exactlyOnce()) {
                producer.initTransactions();
            }
            consumer.subscribe(List.of(job.text("features")));
            drain(consumer, producer, predictions, watch);
        }
    }

    private void drain(
            KafkaConsumer<byte[], byte[]> consumer,
            KafkaProducer<byte[], byte[]> producer,
            String predictions,
            Stopwatch watch)
            throws Exception {
        long intervalNs = 1_000_000L * job.number("commit_interval_ms");
        long commitRecords = job.number("commit_records");
        Map<TopicPartition, OffsetAndMetadata> ends = new HashMap<>();
        long uncommitted = 0;
        long commitAtNs = 0;
        while (watch.running()) {
            long waitNs = uncommitted == 0 ? 500_000_000L : Math.max(0, commitAtNs - System.nanoTime());
            ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofNanos(waitNs));
            if (!records.isEmpty()) {
                watch.first();
                if (uncommitted == 0) {
                    commitAtNs = System.nanoTime() + intervalNs;
                    if (job.exactlyOnce()) {
                        producer.beginTransaction();
                    }
                }
                process(records, producer, predictions);
                for (TopicPartition partition : records.partitions()) {
                    List<ConsumerRecord<byte[], byte[]>> part = records.records(partition);
                    ends.put(partition, new OffsetAndMetadata(part.get(part.size() - 1).offset() + 1));
                }
                uncommitted += records.count();
            }
            if (uncommitted > 0 && (uncommitted >= commitRecords || System.nanoTime() >= commitAtNs)) {
                commit(consumer, producer, ends);
                watch.committed(uncommitted);
                ends.clear();
                uncommitted = 0;
            }
        }
    }

    private void process(
            ConsumerRecords<byte[], byte[]> records, KafkaProducer<byte[], byte[]> producer, String predictions)
            throws Exception {
        int valid = 0;
        int place = 0;
        for (ConsumerRecord<byte[], byte[]> record : records) {
            if (codec.read(record.value())) {
                model.setRow(valid, codec.features);
                ids[valid] = codec.id;
                timestamps[valid] = codec.timestamp;
                places[valid++] = place;
            }
            place++;
        }
        if (valid == 0) {
            return;
        }
        float[] scores = model.predict(valid);
        int row = 0;
        place = 0;
        for (ConsumerRecord<byte[], byte[]> record : records) {
            if (row < valid && places[row] == place) {
                byte[] value = codec.write(
                        ids[row],
                        timestamps[row],
                        scores,
                        row * model.classes,
                        model.classes,
                        record.topic(),
                        record.partition(),
                        record.offset());
                producer.send(new ProducerRecord<>(predictions, record.partition(), record.key(), value), (sent, error) -> {
                    if (error != null) {
                        failure = error;
                    }
                });
                row++;
            }
            place++;
        }
    }

    private void commit(
            KafkaConsumer<byte[], byte[]> consumer,
            KafkaProducer<byte[], byte[]> producer,
            Map<TopicPartition, OffsetAndMetadata> ends)
            throws Exception {
        if (job.exactlyOnce()) {
            producer.sendOffsetsToTransaction(ends, consumer.groupMetadata());
            producer.commitTransaction();
        } else {
            producer.flush();
            consumer.commitSync(ends);
        }
        if (failure != null) {
            throw failure;
        }
    }
}
