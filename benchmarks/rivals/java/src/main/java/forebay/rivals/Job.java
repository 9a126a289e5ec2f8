package forebay.rivals;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;

/** The parameters of a run: one flat JSON object, the only command-line argument. */
final class Job {
    private final Map<String, String> values = new HashMap<>();

    static Job parse(String argument) throws IOException {
        Job job = new Job();
        try (JsonParser parser = new JsonFactory().createParser(argument)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String name = parser.currentName();
                parser.nextToken();
                job.values.put(name, parser.getText());
            }
        }
        return job;
    }

    String text(String name) {
        String value = values.get(name);
        if (value == null) {
            throw new IllegalArgumentException("the job has no field " + name);
        }
        return value;
    }

    int number(String name) {
        return Integer.parseInt(text(name));
    }

    boolean flag(String name) {
        return Boolean.parseBoolean(text(name));
    }

    boolean exactlyOnce() {
        return text("processing_guarantee").equals("exactly_once");
    }
}
