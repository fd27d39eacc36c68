import java.io.FileReader;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.AuthenticationException;
import org.apache.kafka.common.errors.AuthorizationException;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes numbered records until SIGTERM, or as many as it is told: {@code java Writer PROPERTIES TOPIC PREFIX PAUSE-MS
 * [COUNT]}. The values are {@code PREFIX-000001} and so on. Each is acknowledged by the brokers before the next is sent, and
 * the last line says how many were.
 */
public final class Writer {
  private static volatile boolean stopping;

  public static void main(String[] arguments) throws Exception {
    Properties settings = new Properties();
    try (FileReader file = new FileReader(arguments[0])) {
      settings.load(file);
    }
    long pause = Long.parseLong(arguments[3]);
    long wanted = arguments.length > 4 ? Long.parseLong(arguments[4]) : Long.MAX_VALUE;
    Thread main = Thread.currentThread();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(main)));
    long count = 0;
    try (KafkaProducer<String, String> producer =
        new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
      while (!stopping && count < wanted) {
        String value = String.format("%s-%06d", arguments[2], count + 1);
        producer.send(new ProducerRecord<>(arguments[1], value, value)).get();
        count++;
        if (count == 1) {
          System.out.println("WRITING");
        }
        Thread.sleep(pause);
      }
    } catch (java.util.concurrent.ExecutionException e) {
      refused(e.getCause());
    }
    System.out.println("WROTE " + count);
  }

  private static void refused(Throwable cause) {
    if (cause instanceof AuthorizationException || cause instanceof AuthenticationException) {
      System.out.println("DENIED " + cause.getClass().getSimpleName() + ": " + cause.getMessage());
      return;
    }
    throw new IllegalStateException(cause);
  }

  private static void stop(Thread main) {
    stopping = true;
    try {
      main.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
