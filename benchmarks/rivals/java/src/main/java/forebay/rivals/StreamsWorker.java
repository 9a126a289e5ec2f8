package forebay.rivals;

import ai.onnxruntime.OrtException;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.processor.internals.DefaultKafkaClientSupplier;

/** Kafka Streams with one record a call of ONNX Runtime, as its users write it. Each stream thread has its own session. */
public final class StreamsWorker {
    private StreamsWorker() {}

    /** Drains the topic once, or, where the job has a topic for warming up, once into that and once into its own. */
    public static void main(String[] arguments) throws Exception {
        Job job = Job.parse(arguments[0]);
        ThreadLocal<Model> models = ThreadLocal.withInitial(() -> load(job));
        String warmUp = job.text("warm_up");
        if (!warmUp.isEmpty()) {
            run(job, models, warmUp, "-warm-up", new Stopwatch(job.number("events")));
        }
        Stopwatch watch = new Stopwatch(job.number("events"));
        run(job, models, job.text("predictions"), "", watch);
        watch.printResult();
        System.exit(0);
    }

    private static Model load(Job job) {
        try {
            return new Model(job.text("onnx"), 1);
        } catch (OrtException error) {
            throw new IllegalStateException(error);
        }
    }

    private static void run(
            Job job, ThreadLocal<Model> models, String predictions, String suffix, Stopwatch watch) throws Exception {
        StreamsBuilder builder = new StreamsBuilder();
        builder.<byte[], byte[]>stream(job.text("features"))
                .processValues(() -> new Predicting(job, models))
                .to(predictions);
        Exception[] failure = new Exception[1];
        try (KafkaStreams streams = new KafkaStreams(
                builder.build(), settings(job, job.text("group_id") + suffix), new WatchedClients(watch))) {
            streams.setUncaughtExceptionHandler(error -> {
                failure[0] = new IllegalStateException(error);
                return StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            streams.start();
            while (watch.running() && failure[0] == null) {
                Thread.sleep(5);
            }
            streams.close(Duration.ofSeconds(10));
        }
        if (failure[0] != null) {
            throw failure[0];
        }
    }

    private static Properties settings(Job job, String group) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, group);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, job.text("bootstrap_servers"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, job.number("threads"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, job.text("folder"));
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, job.number("commit_interval_ms"));
        settings.put(
                StreamsConfig.PROCESSING_GUARANTEE_CONFIG,
                job.exactlyOnce() ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
        Map<String, Object> consuming = new HashMap<>(Clients.consumer(job));
        consuming.remove("bootstrap.servers");
        consuming.remove("enable.auto.commit");
        // Kafka Streams sets it with its guarantee, and does not let it be set with exactly once.
        consuming.remove("isolation.level");
        // The default of Kafka Streams, which buffers 1,000 records for each partition.
        consuming.remove("max.poll.records");
        consuming.forEach((name, value) -> settings.put(StreamsConfig.consumerPrefix(name), value));
        Map<String, Object> producing = new HashMap<>(Clients.producer(job));
        producing.remove("bootstrap.servers");
        if (job.exactlyOnce()) {
            producing.remove("enable.idempotence");
        }
        producing.forEach((name, value) -> settings.put(StreamsConfig.producerPrefix(name), value));
        return settings;
    }

    /** Predicts one record. */
    private static final class Predicting implements FixedKeyProcessor<byte[], byte[], byte[]> {
        private final Job job;
        private final ThreadLocal<Model> models;
        private EventCodec codec;
        private Model model;
        private FixedKeyProcessorContext<byte[], byte[]> context;

        Predicting(Job job, ThreadLocal<Model> models) {
            this.job = job;
            this.models = models;
        }

        @Override
        public void init(FixedKeyProcessorContext<byte[], byte[]> context) {
            this.context = context;
            model = models.get();
            codec = new EventCodec(job, model.features);
        }

        @Override
        public void process(FixedKeyRecord<byte[], byte[]> record) {
            if (!codec.read(record.value())) {
                return;
            }
            model.setRow(0, codec.features);
            try {
                float[] scores = model.predict(1);
                var source = context.recordMetadata().orElseThrow();
                byte[] value = codec.write(
                        codec.id,
                        codec.timestamp,
                        scores,
                        0,
                        model.classes,
                        source.topic(),
                        source.partition(),
                        source.offset());
                context.forward(record.withValue(value));
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        }
    }

    /** Starts Kafka's clients with the stopwatch at their polls and commits. */
    private static final class WatchedClients extends DefaultKafkaClientSupplier {
        private final Stopwatch watch;
        private final Map<TopicPartition, Long> ends = new ConcurrentHashMap<>();

        WatchedClients(Stopwatch watch) {
            this.watch = watch;
        }

        @Override
        public Consumer<byte[], byte[]> getConsumer(Map<String, Object> settings) {
            return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer()) {
                @Override
                public ConsumerRecords<byte[], byte[]> poll(Duration timeout) {
                    ConsumerRecords<byte[], byte[]> records = super.poll(timeout);
                    if (!records.isEmpty()) {
                        watch.first();
                    }
                    return records;
                }

                @Override
                public void commitSync(Map<TopicPartition, OffsetAndMetadata> offsets) {
                    super.commitSync(offsets);
                    watch.committed(count(offsets));
                }
            };
        }

        @Override
        public Producer<byte[], byte[]> getProducer(Map<String, Object> settings) {
            return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer()) {
                private long uncommitted;

                @Override
                public void sendOffsetsToTransaction(
                        Map<TopicPartition, OffsetAndMetadata> offsets,
                        org.apache.kafka.clients.consumer.ConsumerGroupMetadata group) {
                    super.sendOffsetsToTransaction(offsets, group);
                    uncommitted += count(offsets);
                }

                @Override
                public void commitTransaction() {
                    super.commitTransaction();
                    watch.committed(uncommitted);
                    uncommitted = 0;
                }
            };
        }

        /** The topic begins at offset 0 and has no gaps, so that offsets are numbers of events. */
        private long count(Map<TopicPartition, OffsetAndMetadata> offsets) {
            long count = 0;
            for (Map.Entry<TopicPartition, OffsetAndMetadata> entry : offsets.entrySet()) {
                Long before = ends.put(entry.getKey(), entry.getValue().offset());
                count += entry.getValue().offset() - (before == null ? 0 : before);
            }
            return count;
        }
    }
}
