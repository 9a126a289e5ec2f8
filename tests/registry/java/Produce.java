// Publishes events with the serializers of Apicurio, as the JSON document on the standard input says:
//   {"bootstrap": "host:port",
//    "runs": [{"topic": ..., "settings": {property: value, ...}, "events": [{"id": ..., "timestamp": ..., "features": [...]}, ...]}]}
// Each event is published once in each format, to partition 0, with the format appended to its id: "7-avro", "7-json", "7-protobuf".

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.DescriptorProtos.DescriptorProto;
import com.google.protobuf.DescriptorProtos.FieldDescriptorProto;
import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DynamicMessage;
import io.apicurio.registry.serde.avro.AvroKafkaSerializer;
import io.apicurio.registry.serde.jsonschema.JsonSchemaKafkaSerializer;
import io.apicurio.registry.serde.protobuf.ProtobufKafkaSerializer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serializer;

public class Produce {
    private static final String AVRO = """
        {"type": "record", "name": "Event", "namespace": "shop", "fields": [
          {"name": "id", "type": "string"},
          {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
          {"name": "features", "type": {"type": "array", "items": "double"}}]}""";

    public static void main(String[] arguments) throws Exception {
        JsonNode document = new ObjectMapper().readTree(System.in);
        Map<String, Object> settings = Map.of("bootstrap.servers", document.get("bootstrap").asText());
        try (var producer = new KafkaProducer<byte[], byte[]>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode run : document.get("runs")) {
                publish(producer, run, sent);
            }
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
            System.out.println(sent.size());
        }
    }

    private static void publish(KafkaProducer<byte[], byte[]> producer, JsonNode run, List<Future<RecordMetadata>> sent)
            throws Exception {
        String topic = run.get("topic").asText();
        Map<String, Object> settings = new HashMap<>();
        run.get("settings").fields().forEachRemaining(entry -> settings.put(entry.getKey(), entry.getValue().asText()));
        Schema avro = new Schema.Parser().parse(AVRO);
        FileDescriptor file = protobufFile();
        try (var avros = configured(new AvroKafkaSerializer<GenericData.Record>(), settings, topic + "-avro");
                var jsons = configured(new JsonSchemaKafkaSerializer<Map<String, Object>>(), settings, topic + "-json");
                var protobufs = configured(new ProtobufKafkaSerializer<DynamicMessage>(), settings, topic + "-protobuf")) {
            for (JsonNode event : run.get("events")) {
                String id = event.get("id").asText();
                long timestamp = event.get("timestamp").asLong();
                List<Double> features = new ArrayList<>();
                event.get("features").forEach(feature -> features.add(feature.asDouble()));

                GenericData.Record record = new GenericData.Record(avro);
                record.put("id", id + "-avro");
                record.put("timestamp", timestamp);
                record.put("features", features);
                send(producer, topic, avros, record, sent);

                send(producer, topic, jsons, Map.of("id", id + "-json", "timestamp", timestamp, "features", features), sent);

                // Both message types of the file in turn.
                Descriptor type = file.getMessageTypes().get(sent.size() / 3 % 2);
                DynamicMessage.Builder message = DynamicMessage.newBuilder(type);
                message.setField(type.findFieldByName("id"), id + "-protobuf");
                message.setField(type.findFieldByName("timestamp"), timestamp);
                message.setField(type.findFieldByName("features"), features);
                send(producer, topic, protobufs, message.build(), sent);
            }
        }
    }

    private static <T, S extends Serializer<T>> S configured(S serializer, Map<String, Object> settings, String artifact) {
        Map<String, Object> own = new HashMap<>(settings);
        own.put("apicurio.registry.artifact.artifact-id", artifact);
        if (!(serializer instanceof JsonSchemaKafkaSerializer)) {
            own.remove("apicurio.registry.artifact.schema.location");
        }
        serializer.configure(own, false);
        return serializer;
    }

    private static <T> void send(
            KafkaProducer<byte[], byte[]> producer,
            String topic,
            Serializer<T> serializer,
            T event,
            List<Future<RecordMetadata>> sent) {
        RecordHeaders headers = new RecordHeaders();
        byte[] value = serializer.serialize(topic, headers, event);
        sent.add(producer.send(new ProducerRecord<byte[], byte[]>(topic, 0, null, null, value, headers)));
    }

    private static FileDescriptor protobufFile() throws Exception {
        FileDescriptorProto.Builder file = FileDescriptorProto.newBuilder().setName("event.proto").setSyntax("proto3").setPackage("shop");
        for (String name : List.of("Event", "LateEvent")) {
            file.addMessageType(DescriptorProto.newBuilder()
                    .setName(name)
                    .addField(field("id", 1, FieldDescriptorProto.Type.TYPE_STRING, false))
                    .addField(field("timestamp", 2, FieldDescriptorProto.Type.TYPE_INT64, false))
                    .addField(field("features", 3, FieldDescriptorProto.Type.TYPE_DOUBLE, true)));
        }
        return FileDescriptor.buildFrom(file.build(), new FileDescriptor[0]);
    }

    private static FieldDescriptorProto field(String name, int number, FieldDescriptorProto.Type type, boolean repeated) {
        return FieldDescriptorProto.newBuilder()
                .setName(name)
                .setNumber(number)
                .setType(type)
                .setLabel(repeated ? FieldDescriptorProto.Label.LABEL_REPEATED : FieldDescriptorProto.Label.LABEL_OPTIONAL)
                .build();
    }
}
