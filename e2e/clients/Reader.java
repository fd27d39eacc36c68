import java.io.FileReader;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.AuthenticationException;
import org.apache.kafka.common.errors.AuthorizationException;
import org.apache.kafka.common.errors.TopicAuthorizationException;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Reads a topic in a group and prints each record: {@code java Reader PROPERTIES TOPIC GROUP [end]}.
 *
 * <p>Each batch is committed before the next is asked for, and SIGTERM ends the program between two batches, so that whoever
 * goes on in the same group repeats nothing. With {@code end} it stops where the topic ended when it began. What the brokers
 * refuse is printed as {@code DENIED} and ends it with exit code 3.
 */
public final class Reader {
  private static volatile boolean stopping;

  public static void main(String[] arguments) throws Exception {
    Properties settings = new Properties();
    try (FileReader file = new FileReader(arguments[0])) {
      settings.load(file);
    }
    settings.put("group.id", arguments[2]);
    settings.put("auto.offset.reset", "earliest");
    settings.put("enable.auto.commit", "false");
    settings.put("fetch.max.wait.ms", "100");
    KafkaConsumer<String, String> consumer =
        new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    Thread main = Thread.currentThread();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(main)));
    boolean denied = read(consumer, arguments[1], arguments.length > 3);
    consumer.close();
    if (denied) {
      // Not System.exit: the hook waits for this thread.
      Runtime.getRuntime().halt(3);
    }
  }

  private static void stop(Thread main) {
    stopping = true;
    try {
      main.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static boolean read(KafkaConsumer<String, String> consumer, String topic, boolean toEnd) {
    long count = 0;
    Instant first = null;
    Map<TopicPartition, Long> end = null;
    consumer.subscribe(List.of(topic));
    while (!stopping) {
      try {
        ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
        for (ConsumerRecord<String, String> record : records) {
          System.out.println("GOT " + record.partition() + " " + record.offset() + " " + record.value());
          count++;
        }
        if (!records.isEmpty()) {
          consumer.commitSync();
        }
        if (toEnd && end == null && !consumer.assignment().isEmpty()) {
          end = consumer.endOffsets(consumer.assignment());
        }
        if (end != null && end.entrySet().stream().allMatch(e -> consumer.position(e.getKey()) >= e.getValue())) {
          break;
        }
      } catch (AuthorizationException | AuthenticationException e) {
        Instant now = Instant.now();
        System.out.println("DENIED " + now + " " + e.getClass().getSimpleName() + ": " + e.getMessage());
        first = first == null ? now : first;
        // A little longer, so that every broker which leads a partition is asked.
        boolean enough = e instanceof TopicAuthorizationException || e instanceof AuthenticationException;
        if (toEnd || Duration.between(first, now).compareTo(Duration.ofSeconds(enough ? 1 : 20)) > 0) {
          break;
        }
      }
    }
    System.out.println("CLOSED " + count);
    return first != null;
  }
}
