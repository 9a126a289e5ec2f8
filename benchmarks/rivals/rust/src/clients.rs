//! librdkafka's clients with the settings of all contestants.

use std::sync::Mutex;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaRespErr;

use crate::job::Job;

const FLUSH_TIMEOUT_MS: i32 = 60_000;

pub fn consumer(job: &Job) -> KafkaResult<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", &job.bootstrap_servers)
        .set("group.id", &job.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", job.fetch_max_wait_ms.to_string())
        .set("fetch.min.bytes", job.fetch_min_bytes.to_string())
        .set("fetch.max.bytes", job.fetch_max_bytes.to_string())
        .set("max.partition.fetch.bytes", job.max_partition_fetch_bytes.to_string())
        .set("receive.message.max.bytes", (1u64 << 30).to_string())
        // The pause of fetching when enough messages are queued. With the default of 1,000 ms, the worker runs out of messages.
        .set("fetch.queue.backoff.ms", "10")
        .create()
}

/// Notes the first prediction that was not delivered.
#[derive(Default)]
pub struct Deliveries(Mutex<Option<KafkaError>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if let Err((error, _message)) = result {
            *self.0.lock().unwrap() = Some(error.clone());
        }
    }
}

pub struct Sender(BaseProducer<Deliveries>);

pub fn sender(job: &Job) -> KafkaResult<Sender> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &job.bootstrap_servers)
        .set("acks", "all")
        .set("compression.type", "none")
        // The default. A flush does not wait for it. With 0 it would send many small batches and be slower.
        .set("linger.ms", "5")
        .set("batch.size", job.max_batch_bytes.to_string())
        .set("message.max.bytes", job.max_batch_bytes.to_string())
        .set("delivery.report.only.error", "true");
    if job.exactly_once() {
        config.set("transactional.id", &job.group_id);
    } else {
        config.set("enable.idempotence", job.idempotent.to_string());
    }
    Ok(Sender(config.create_with_context(Deliveries::default())?))
}

impl Sender {
    pub fn producer(&self) -> &BaseProducer<Deliveries> {
        &self.0
    }

    /// Wait until all predictions are delivered.
    pub fn flush(&self) -> KafkaResult<()> {
        // The crate's own flush polls for events in steps of 100 ms, and there are none: only errors are reported.
        // SAFETY: the client lives as long as `self`.
        let outcome = unsafe {
            rdkafka::bindings::rd_kafka_flush(self.0.client().native_ptr(), FLUSH_TIMEOUT_MS)
        };
        if outcome != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(KafkaError::Flush(RDKafkaErrorCode::from(outcome)));
        }
        self.check()
    }

    /// Return the first failed delivery as an error.
    pub fn check(&self) -> KafkaResult<()> {
        self.0.poll(std::time::Duration::ZERO);
        match self.0.context().0.lock().unwrap().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
