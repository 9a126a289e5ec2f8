package forebay.rivals;

import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;

/** The settings of the clients, as those of all contestants. */
final class Clients {
    private Clients() {}

    static Map<String, Object> consumer(Job job) {
        Map<String, Object> settings = new HashMap<>();
        settings.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, job.text("bootstrap_servers"));
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        settings.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        settings.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        settings.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, job.number("poll_records"));
        settings.put(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, job.number("fetch_max_wait_ms"));
        settings.put(ConsumerConfig.FETCH_MIN_BYTES_CONFIG, job.number("fetch_min_bytes"));
        settings.put(ConsumerConfig.FETCH_MAX_BYTES_CONFIG, job.number("fetch_max_bytes"));
        settings.put(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, job.number("max_partition_fetch_bytes"));
        return settings;
    }

    static Map<String, Object> producer(Job job) {
        Map<String, Object> settings = new HashMap<>();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, job.text("bootstrap_servers"));
        settings.put(ProducerConfig.ACKS_CONFIG, "all");
        settings.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, job.exactlyOnce() || job.flag("idempotent"));
        settings.put(ProducerConfig.COMPRESSION_TYPE_CONFIG, "none");
        // The default since Kafka 4.0. A flush and a commit do not wait for it.
        settings.put(ProducerConfig.LINGER_MS_CONFIG, 5);
        settings.put(ProducerConfig.BATCH_SIZE_CONFIG, job.number("max_batch_bytes"));
        settings.put(ProducerConfig.MAX_REQUEST_SIZE_CONFIG, 2 * job.number("max_batch_bytes"));
        settings.put(ProducerConfig.BUFFER_MEMORY_CONFIG, 32L << 20);
        return settings;
    }
}
