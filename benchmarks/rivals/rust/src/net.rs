//! A perceptron with ReLU between its layers and softmax at its end, computed by `matrixmultiply` on one thread.

use std::error::Error;
use std::fs;

use matrixmultiply::sgemm;
use safetensors::SafeTensors;

struct Layer {
    inputs: usize,
    outputs: usize,
    /// [inputs, outputs]
    weights: Vec<f32>,
    biases: Vec<f32>,
    /// The results of a batch: [rows, outputs]
    results: Vec<f32>,
}

pub struct Net {
    layers: Vec<Layer>,
}

impl Net {
    /// Load `weight.N` [inputs, outputs] and `bias.N` [outputs] of all layers from a safetensors file.
    pub fn load(path: &str) -> Result<Self, Box<dyn Error>> {
        let bytes = fs::read(path)?;
        let tensors = SafeTensors::deserialize(&bytes)?;
        let mut layers = Vec::new();
        while let Ok(weight) = tensors.tensor(&format!("weight.{}", layers.len())) {
            let bias = tensors.tensor(&format!("bias.{}", layers.len()))?;
            layers.push(Layer {
                inputs: weight.shape()[0],
                outputs: weight.shape()[1],
                weights: floats(weight.data()),
                biases: floats(bias.data()),
                results: Vec::new(),
            });
        }
        if layers.is_empty() {
            return Err("the file has no weights".into());
        }
        Ok(Self { layers })
    }

    pub fn features(&self) -> usize {
        self.layers[0].inputs
    }

    pub fn classes(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs
    }

    /// Return the probabilities [count, classes] for rows [count, features].
    pub fn predict(&mut self, rows: &[f32], count: usize) -> &[f32] {
        let last = self.layers.len() - 1;
        for number in 0..=last {
            let (before, rest) = self.layers.split_at_mut(number);
            let layer = &mut rest[0];
            let input = before.last().map_or(rows, |layer| &layer.results);
            layer.apply(input, count);
            if number < last {
                layer.results.iter_mut().for_each(|value| *value = value.max(0.0));
            }
        }
        let classes = self.classes();
        let scores = &mut self.layers[last].results;
        scores.chunks_exact_mut(classes).for_each(softmax);
        scores
    }
}

impl Layer {
    /// results = input @ weights + biases
    fn apply(&mut self, input: &[f32], count: usize) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        assert!(input.len() >= count * inputs);
        self.results.clear();
        for _ in 0..count {
            self.results.extend_from_slice(&self.biases);
        }
        // SAFETY: the three matrices have the given sizes, and their rows are contiguous.
        unsafe {
            sgemm(
                count,
                inputs,
                outputs,
                1.0,
                input.as_ptr(),
                inputs as isize,
                1,
                self.weights.as_ptr(),
                outputs as isize,
                1,
                1.0,
                self.results.as_mut_ptr(),
                outputs as isize,
                1,
            );
        }
    }
}

fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|value| *value = (*value - largest).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|value| *value /= sum);
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}
