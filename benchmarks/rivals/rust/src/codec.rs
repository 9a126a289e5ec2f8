//! Reads events with simd-json's tape, and writes predictions into a buffer that is reused.

use simd_json::{fill_tape_padded, Buffers, Node, StaticNode, Tape, INPUT_PADDING};

use crate::job::Job;

/// The valid events of a batch, in columns.
pub struct Decoder {
    num_features: usize,
    input: Vec<u8>,
    buffers: Buffers,
    /// Empty between two events; only its memory is kept.
    tape: Option<Tape<'static>>,
    /// The ids, one after the other, as they are in JSON strings.
    ids: Vec<u8>,
    /// The end of each id in `ids`.
    id_ends: Vec<usize>,
    pub timestamps: Vec<i64>,
    /// [events, features]
    pub rows: Vec<f32>,
    /// The place of each event in the batch.
    pub places: Vec<usize>,
}

impl Decoder {
    pub fn new(num_features: usize, max_events: usize) -> Self {
        Self {
            num_features,
            input: Vec::new(),
            buffers: Buffers::new(1024),
            tape: Some(Tape::null()),
            ids: Vec::new(),
            id_ends: Vec::with_capacity(max_events),
            timestamps: Vec::with_capacity(max_events),
            rows: Vec::with_capacity(max_events * num_features),
            places: Vec::with_capacity(max_events),
        }
    }

    pub fn clear(&mut self) {
        self.ids.clear();
        self.id_ends.clear();
        self.timestamps.clear();
        self.rows.clear();
        self.places.clear();
    }

    pub fn id(&self, event: usize) -> &[u8] {
        let start = if event == 0 { 0 } else { self.id_ends[event - 1] };
        &self.ids[start..self.id_ends[event]]
    }

    /// Add an event. One that is not valid is left out.
    pub fn add(&mut self, value: &[u8], place: usize) {
        self.input.clear();
        self.input.extend_from_slice(value);
        self.input.resize(value.len() + INPUT_PADDING, 0);
        let mut tape = self.tape.take().unwrap_or_else(Tape::null).reset();
        let rows_before = self.rows.len();
        let parsed = fill_tape_padded(&mut self.input, value.len(), &mut self.buffers, &mut tape);
        let event = parsed.ok().and_then(|()| read(&tape.0, self.num_features, &mut self.rows));
        match event {
            Some((id, timestamp)) => {
                self.ids.extend_from_slice(id.as_bytes());
                self.id_ends.push(self.ids.len());
                self.timestamps.push(timestamp);
                self.places.push(place);
            }
            None => self.rows.truncate(rows_before),
        }
        self.tape = Some(tape.reset());
    }
}

/// Return the id and the timestamp of an event, and add its features to `rows`. None if it is not valid.
fn read<'a>(nodes: &[Node<'a>], num_features: usize, rows: &mut Vec<f32>) -> Option<(&'a str, i64)> {
    let Node::Object { len, .. } = nodes.first()? else { return None };
    let (mut id, mut timestamp, mut has_features) = (None, None, false);
    let mut at = 1;
    for _ in 0..*len {
        let Node::String(name) = nodes.get(at)? else { return None };
        let value = nodes.get(at + 1)?;
        at += 2;
        match (*name, value) {
            ("id", Node::String(text)) => id = Some(*text),
            ("timestamp", Node::Static(number)) => timestamp = integer(number),
            ("features", Node::Array { len, count }) => {
                if *len != num_features || *count != num_features || has_features {
                    return None;
                }
                for node in nodes.get(at..at + count)? {
                    let Node::Static(number) = node else { return None };
                    rows.push(float(number)?);
                }
                has_features = true;
                at += count;
            }
            (_, Node::Array { count, .. } | Node::Object { count, .. }) => at += count,
            _ => {}
        }
    }
    // An id with characters that JSON escapes would have to be escaped again; ids of this benchmark have none.
    let id = id.filter(|text| text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\'))?;
    has_features.then_some((id, timestamp?))
}

fn integer(number: &StaticNode) -> Option<i64> {
    match number {
        StaticNode::I64(value) => Some(*value),
        StaticNode::U64(value) => i64::try_from(*value).ok(),
        _ => None,
    }
}

fn float(number: &StaticNode) -> Option<f32> {
    match number {
        StaticNode::F64(value) => Some(*value as f32),
        StaticNode::I64(value) => Some(*value as f32),
        StaticNode::U64(value) => Some(*value as f32),
        _ => None,
    }
}

/// Where an event comes from.
pub struct Origin<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
}

pub struct Encoder {
    output: Vec<u8>,
    /// What all predictions have between the id and the scores.
    model: Vec<u8>,
    integers: itoa::Buffer,
    floats: ryu::Buffer,
}

impl Encoder {
    pub fn new(job: &Job) -> Self {
        let name = serde_json::to_string(&job.model).unwrap_or_default();
        let model = format!("\",\"model\":{name},\"version\":{},\"prediction\":[", job.model_version);
        Self {
            output: Vec::with_capacity(512),
            model: model.into_bytes(),
            integers: itoa::Buffer::new(),
            floats: ryu::Buffer::new(),
        }
    }

    /// Return a prediction as JSON, valid until the next call.
    pub fn encode(&mut self, id: &[u8], scores: &[f32], origin: &Origin<'_>) -> &[u8] {
        let mut chosen = 0;
        for (class, score) in scores.iter().enumerate() {
            if *score > scores[chosen] {
                chosen = class;
            }
        }
        self.output.clear();
        self.text(b"{\"id\":\"");
        self.text(id);
        self.output.extend_from_slice(&self.model);
        for (class, score) in scores.iter().enumerate() {
            if class > 0 {
                self.text(b",");
            }
            self.float(*score);
        }
        self.text(b"],\"confidence\":");
        self.float(scores[chosen]);
        self.text(b",\"class\":");
        self.integer(chosen as i64);
        self.text(b",\"label\":null,\"source\":{\"topic\":\"");
        self.text(origin.topic.as_bytes());
        self.text(b"\",\"partition\":");
        self.integer(i64::from(origin.partition));
        self.text(b",\"offset\":");
        self.integer(origin.offset);
        self.text(b",\"timestamp\":");
        self.integer(origin.timestamp);
        self.text(b"}}");
        &self.output
    }

    fn text(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    fn integer(&mut self, value: i64) {
        self.output.extend_from_slice(self.integers.format(value).as_bytes());
    }

    fn float(&mut self, value: f32) {
        self.output.extend_from_slice(self.floats.format_finite(value).as_bytes());
    }
}
