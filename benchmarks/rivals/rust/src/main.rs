//! A careful worker in Rust: poll 512 records, parse them with simd-json, predict them in one batch by matrixmultiply, produce,
//! and commit every 100 ms or 10,000 records, with the offsets in a transaction or after a flush. While a batch is predicted,
//! librdkafka's threads send the ones before.

mod clients;
mod codec;
mod job;
mod net;
mod stopwatch;

use std::error::Error;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use clients::Sender;
use codec::{Decoder, Encoder, Origin};
use job::Job;
use net::Net;
use stopwatch::Stopwatch;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let argument = std::env::args().nth(1).ok_or("the argument is missing: the job as JSON")?;
    let job: Job = serde_json::from_str(&argument)?;
    let mut predictor = Predictor::new(&job)?;
    let consumer = clients::consumer(&job)?;
    let sender = clients::sender(&job)?;
    let mut watch = Stopwatch::new(job.events);
    drain(&job, &consumer, &sender, &mut predictor, &mut watch)?;
    watch.print_result()
}

fn drain(
    job: &Job,
    consumer: &BaseConsumer,
    sender: &Sender,
    predictor: &mut Predictor,
    watch: &mut Stopwatch,
) -> Outcome<()> {
    if job.exactly_once() {
        sender.producer().init_transactions(REQUEST_TIMEOUT)?;
    }
    consumer.subscribe(&[&job.features])?;
    let interval = Duration::from_millis(job.commit_interval_ms);
    let mut commit_at = Instant::now();
    let mut uncommitted = 0;
    // The next offset of each partition with uncommitted records.
    let mut ends: Vec<Option<i64>> = Vec::new();
    let mut messages: Vec<BorrowedMessage<'_>> = Vec::with_capacity(job.poll_records);
    while watch.running() {
        let wait = match uncommitted {
            0 => Duration::from_millis(500),
            _ => commit_at.saturating_duration_since(Instant::now()),
        };
        messages.clear();
        poll(consumer, &mut messages, job.poll_records, wait)?;
        if !messages.is_empty() {
            watch.first();
            if uncommitted == 0 {
                commit_at = Instant::now() + interval;
                if job.exactly_once() {
                    sender.producer().begin_transaction()?;
                }
            }
            predictor.process(job, &messages, sender)?;
            sender.check()?;
            for message in &messages {
                let partition = message.partition() as usize;
                if ends.len() <= partition {
                    ends.resize(partition + 1, None);
                }
                ends[partition] = Some(message.offset() + 1);
            }
            uncommitted += messages.len() as u64;
        }
        if uncommitted > 0 && (uncommitted >= job.commit_records || Instant::now() >= commit_at) {
            commit(job, consumer, sender, &mut ends)?;
            watch.committed(uncommitted);
            uncommitted = 0;
        }
    }
    Ok(())
}

/// Take up to `most` messages. Wait for the first one only.
fn poll<'a>(
    consumer: &'a BaseConsumer,
    messages: &mut Vec<BorrowedMessage<'a>>,
    most: usize,
    wait: Duration,
) -> KafkaResult<()> {
    let mut timeout = wait;
    while messages.len() < most {
        match consumer.poll(timeout) {
            None => break,
            Some(message) => messages.push(message?),
        }
        timeout = Duration::ZERO;
    }
    Ok(())
}

/// Commit the offsets, in the transaction or after a flush.
fn commit(job: &Job, consumer: &BaseConsumer, sender: &Sender, ends: &mut [Option<i64>]) -> Outcome<()> {
    let mut offsets = TopicPartitionList::new();
    for (partition, end) in ends.iter_mut().enumerate() {
        if let Some(end) = end.take() {
            offsets.add_partition_offset(&job.features, partition as i32, Offset::Offset(end))?;
        }
    }
    if job.exactly_once() {
        let group = consumer.group_metadata().ok_or("the consumer has no group")?;
        sender.producer().send_offsets_to_transaction(&offsets, &group, REQUEST_TIMEOUT)?;
        sender.producer().commit_transaction(REQUEST_TIMEOUT)?;
        sender.check()?;
    } else {
        sender.flush()?;
        consumer.commit(&offsets, CommitMode::Sync)?;
    }
    Ok(())
}

/// Decodes, predicts, encodes and sends batches.
struct Predictor {
    net: Net,
    decoder: Decoder,
    encoder: Encoder,
}

impl Predictor {
    fn new(job: &Job) -> Outcome<Self> {
        let net = Net::load(&job.weights)?;
        let decoder = Decoder::new(net.features(), job.poll_records);
        Ok(Self { net, decoder, encoder: Encoder::new(job) })
    }

    fn process(&mut self, job: &Job, messages: &[BorrowedMessage<'_>], sender: &Sender) -> Outcome<()> {
        self.decoder.clear();
        for (place, message) in messages.iter().enumerate() {
            self.decoder.add(message.payload().unwrap_or_default(), place);
        }
        let classes = self.net.classes();
        let scores = self.net.predict(&self.decoder.rows, self.decoder.places.len());
        for (event, place) in self.decoder.places.iter().enumerate() {
            let message = &messages[*place];
            let origin = Origin {
                topic: message.topic(),
                partition: message.partition(),
                offset: message.offset(),
                timestamp: self.decoder.timestamps[event],
            };
            let row = &scores[event * classes..(event + 1) * classes];
            let value = self.encoder.encode(self.decoder.id(event), row, &origin);
            send(sender, &job.predictions, message, value)?;
        }
        Ok(())
    }
}

/// Put a prediction into the send queue; wait while it is full.
fn send(sender: &Sender, topic: &str, message: &BorrowedMessage<'_>, value: &[u8]) -> Outcome<()> {
    let mut record = BaseRecord::to(topic).payload(value).partition(message.partition());
    if let Some(key) = message.key() {
        record = record.key(key);
    }
    loop {
        match sender.producer().send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                sender.producer().poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}
