package forebay.rivals;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.TensorInfo;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Map;

/** A net in ONNX Runtime on one thread, with its input in a direct buffer that is reused. */
final class Model {
    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;
    private final String inputName;
    private final FloatBuffer rows;
    private final float[] scores;
    final int features;
    final int classes;

    Model(String path, int maxRows) throws OrtException {
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
            options.setIntraOpNumThreads(1);
            options.setInterOpNumThreads(1);
            options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT);
            session = environment.createSession(path, options);
        }
        inputName = session.getInputNames().iterator().next();
        features = width(session.getInputInfo().values().iterator().next().getInfo());
        classes = width(session.getOutputInfo().values().iterator().next().getInfo());
        rows = ByteBuffer.allocateDirect(4 * maxRows * features)
                .order(ByteOrder.nativeOrder())
                .asFloatBuffer();
        scores = new float[maxRows * classes];
    }

    private static int width(Object info) {
        long[] shape = ((TensorInfo) info).getShape();
        return (int) shape[shape.length - 1];
    }

    /** Copies one row into the input. */
    void setRow(int row, float[] values) {
        rows.put(row * features, values, 0, features);
    }

    /** Returns the probabilities of the first {@code count} rows, one row after the other. Valid until the next call. */
    float[] predict(int count) throws OrtException {
        rows.position(0).limit(count * features);
        try (OnnxTensor input = OnnxTensor.createTensor(environment, rows, new long[] {count, features});
                OrtSession.Result result = session.run(Map.of(inputName, input))) {
            ((OnnxTensor) result.get(0)).getFloatBuffer().get(scores, 0, count * classes);
        } finally {
            rows.clear();
        }
        for (int start = 0; start < count * classes; start += classes) {
            softmax(start);
        }
        return scores;
    }

    private void softmax(int start) {
        float largest = scores[start];
        for (int index = start + 1; index < start + classes; index++) {
            largest = Math.max(largest, scores[index]);
        }
        float sum = 0;
        for (int index = start; index < start + classes; index++) {
            scores[index] = (float) Math.exp(scores[index] - largest);
            sum += scores[index];
        }
        for (int index = start; index < start + classes; index++) {
            scores[index] /= sum;
        }
    }
}
