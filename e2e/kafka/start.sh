#!/bin/sh
# Starts one broker of the lab in its pod: formats its storage the first time,
# with the administrator as the cluster's first SCRAM user.
set -eu

id=${POD_NAME##*-}
sed -e "s/@ID@/$id/g" -e "s/@PASSWORD@/$ADMIN_PASSWORD/g" /etc/kafka/server.properties >/tmp/server.properties

export CLASSPATH='/opt/kafka/libs/*'
java="/opt/kafka/runtime/bin/java -Dlog4j2.configurationFile=/etc/kafka/log4j2.properties"
run=$java
if [ -n "${INTAKE_URL:-}" ]; then
  # Java reads no authorities in PEM.
  rm -f /tmp/intake-ca.p12
  /opt/kafka/runtime/bin/keytool -importcert -noprompt -alias intake -file /etc/kafka-tls/ca.pem \
    -keystore /tmp/intake-ca.p12 -storetype PKCS12 -storepass changeit 2>/dev/null
  # Nobody may listen yet: that is no news, each time.
  run="$java,/etc/kafka/log4j2-shipping.properties -Dlog4j2.StatusLogger.level=OFF"
fi

if [ ! -f /var/lib/kafka/meta.properties ]; then
  $java -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC kafka.tools.StorageTool format \
    --ignore-formatted "--cluster-id=$CLUSTER_ID" --config /tmp/server.properties \
    --add-scram "SCRAM-SHA-512=[name=admin,password=$ADMIN_PASSWORD]" \
    --add-scram "SCRAM-SHA-256=[name=admin,password=$ADMIN_PASSWORD]"
fi

# Who wants to know what quotas count asks at :9404/metrics.
exporter=$(echo /opt/kafka/libs/jmx_prometheus_javaagent-*.jar)

# The JWKS is a file, and Kafka reads only URLs that it was told to allow.
exec $run -Xms256m -Xmx400m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError \
  -Djava.security.properties=/etc/kafka/java.security \
  "-javaagent:$exporter=9404:/etc/kafka/jmx.yaml" \
  -Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file:///etc/kafka/jwks.json \
  kafka.Kafka /tmp/server.properties
