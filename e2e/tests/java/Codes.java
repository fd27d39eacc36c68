import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.server.common.MetadataVersion;

/** Prints Kafka's own codes, one a line: enum, name, code, and for errors whether Kafka's clients retry. */
public class Codes {
    public static void main(String[] args) {
        for (AclOperation v : AclOperation.values()) line("AclOperation", v, v.code());
        for (ResourceType v : ResourceType.values()) line("ResourceType", v, v.code());
        for (PatternType v : PatternType.values()) line("PatternType", v, v.code());
        for (AclPermissionType v : AclPermissionType.values()) line("AclPermissionType", v, v.code());
        for (ScramMechanism v : ScramMechanism.values()) line("ScramMechanism", v, v.type());
        for (MetadataVersion v : MetadataVersion.values()) {
            System.out.println("MetadataVersion " + v.version() + " " + v.featureLevel());
        }
        for (Errors v : Errors.values()) {
            System.out.println("Errors " + v.name() + " " + v.code() + " " + (v.exception() instanceof RetriableException));
        }
    }

    private static void line(String of, Enum<?> value, int code) {
        System.out.println(of + " " + value.name() + " " + code);
    }
}
