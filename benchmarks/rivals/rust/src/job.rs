//! The parameters of a run: one flat JSON object, the only command-line argument.

use serde::Deserialize;

#[derive(Deserialize)]
pub struct Job {
    pub bootstrap_servers: String,
    pub features: String,
    pub predictions: String,
    pub group_id: String,
    pub events: u64,
    pub model: String,
    pub model_version: u32,
    pub weights: String,
    pub idempotent: bool,
    pub processing_guarantee: String,
    pub poll_records: usize,
    pub commit_interval_ms: u64,
    pub commit_records: u64,
    pub max_batch_bytes: u64,
    pub fetch_max_wait_ms: u64,
    pub fetch_min_bytes: u64,
    pub fetch_max_bytes: u64,
    pub max_partition_fetch_bytes: u64,
}

impl Job {
    pub fn exactly_once(&self) -> bool {
        self.processing_guarantee == "exactly_once"
    }
}
