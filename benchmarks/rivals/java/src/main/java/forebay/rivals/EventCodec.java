package forebay.rivals;

import com.fasterxml.jackson.core.JsonEncoding;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.StreamWriteFeature;
import com.fasterxml.jackson.core.io.SerializedString;
import java.io.ByteArrayOutputStream;
import java.io.IOException;

/** Reads events and writes predictions with Jackson's streaming parser and generator. Not for use by several threads. */
final class EventCodec {
    private static final SerializedString ID = new SerializedString("id");
    private static final SerializedString MODEL = new SerializedString("model");
    private static final SerializedString VERSION = new SerializedString("version");
    private static final SerializedString PREDICTION = new SerializedString("prediction");
    private static final SerializedString CONFIDENCE = new SerializedString("confidence");
    private static final SerializedString CLASS = new SerializedString("class");
    private static final SerializedString LABEL = new SerializedString("label");
    private static final SerializedString SOURCE = new SerializedString("source");
    private static final SerializedString TOPIC = new SerializedString("topic");
    private static final SerializedString PARTITION = new SerializedString("partition");
    private static final SerializedString OFFSET = new SerializedString("offset");
    private static final SerializedString TIMESTAMP = new SerializedString("timestamp");

    private final JsonFactory factory = JsonFactory.builder()
            .enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER)
            .enable(StreamWriteFeature.USE_FAST_DOUBLE_WRITER)
            .build();
    private final ByteArrayOutputStream output = new ByteArrayOutputStream(512);
    private final SerializedString modelName;
    private final int modelVersion;

    /** The parts of the last event that was read. */
    final float[] features;

    String id;
    long timestamp;

    EventCodec(Job job, int features) {
        this.features = new float[features];
        modelName = new SerializedString(job.text("model"));
        modelVersion = job.number("model_version");
    }

    /** Reads one event. Returns false if it is not valid. */
    boolean read(byte[] value) {
        id = null;
        timestamp = -1;
        int count = -1;
        try (JsonParser parser = factory.createParser(value)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                return false;
            }
            for (String name = parser.nextFieldName(); name != null; name = parser.nextFieldName()) {
                switch (name) {
                    case "id" -> id = parser.nextTextValue();
                    case "timestamp" -> timestamp = parser.nextLongValue(-1);
                    case "features" -> count = readFeatures(parser);
                    default -> {
                        parser.nextToken();
                        parser.skipChildren();
                    }
                }
            }
        } catch (IOException error) {
            return false;
        }
        return id != null && timestamp >= 0 && count == features.length;
    }

    private int readFeatures(JsonParser parser) throws IOException {
        if (parser.nextToken() != JsonToken.START_ARRAY) {
            return -1;
        }
        int count = 0;
        while (parser.nextToken() != JsonToken.END_ARRAY) {
            if (count == features.length) {
                return -1;
            }
            features[count++] = parser.getFloatValue();
        }
        return count;
    }

    /** Returns a prediction as JSON. scores: the probabilities of all rows, of which this row's begin at {@code start}. */
    byte[] write(
            String id, long timestamp, float[] scores, int start, int classes, String topic, int partition, long offset)
            throws IOException {
        int chosen = 0;
        for (int index = 1; index < classes; index++) {
            if (scores[start + index] > scores[start + chosen]) {
                chosen = index;
            }
        }
        output.reset();
        try (JsonGenerator json = factory.createGenerator(output, JsonEncoding.UTF8)) {
            json.writeStartObject();
            json.writeFieldName(ID);
            json.writeString(id);
            json.writeFieldName(MODEL);
            json.writeString(modelName);
            json.writeFieldName(VERSION);
            json.writeNumber(modelVersion);
            json.writeFieldName(PREDICTION);
            json.writeStartArray();
            for (int index = 0; index < classes; index++) {
                json.writeNumber(scores[start + index]);
            }
            json.writeEndArray();
            json.writeFieldName(CONFIDENCE);
            json.writeNumber(scores[start + chosen]);
            json.writeFieldName(CLASS);
            json.writeNumber(chosen);
            json.writeFieldName(LABEL);
            json.writeNull();
            json.writeFieldName(SOURCE);
            json.writeStartObject();
            json.writeFieldName(TOPIC);
            json.writeString(topic);
            json.writeFieldName(PARTITION);
            json.writeNumber(partition);
            json.writeFieldName(OFFSET);
            json.writeNumber(offset);
            json.writeFieldName(TIMESTAMP);
            json.writeNumber(timestamp);
            json.writeEndObject();
            json.writeEndObject();
        }
        return output.toByteArray();
    }
}
