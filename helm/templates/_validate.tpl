{{/* Checks that the schema cannot express: values that contradict each other. Each message names the value and the remedy. */}}
{{- define "forebay.validate" -}}
{{- $v := .Values -}}
{{- if not $v.kafka.bootstrapServers -}}
{{- fail "kafka.bootstrapServers is not set; set it, for example with --set kafka.bootstrapServers=kafka:9092" -}}
{{- end -}}

{{- /* Settings that the chart sets, and secrets, which must not be in a ConfigMap. */ -}}
{{- $instead := dict
  "kafka.bootstrap_servers" "use kafka.bootstrapServers"
  "kafka.group_id" "use kafka.groupId"
  "kafka.group_instance_id" "use staticMembership"
  "kafka.security_protocol" "use kafka.sasl.enabled and kafka.tls.enabled"
  "kafka.sasl_mechanism" "use kafka.sasl.mechanism"
  "kafka.sasl_username" "use kafka.sasl.username"
  "kafka.sasl_password" "use kafka.sasl.existingSecret"
  "kafka.sasl_oauth_token_command" "use kafka.sasl.tokenCommand"
  "kafka.ssl_cafile" "use kafka.tls.existingSecret"
  "kafka.ssl_certfile" "use kafka.tls.existingSecret and certKey"
  "kafka.ssl_keyfile" "use kafka.tls.existingSecret and keyKey"
  "kafka.ssl_password" "use kafka.tls.existingSecret and keyPasswordKey"
  "kafka.ssl_check_hostname" "use kafka.tls.checkHostname"
  "schema_registry.urls" "use schemaRegistry.urls"
  "schema_registry.username" "use schemaRegistry.auth.existingSecret"
  "schema_registry.password" "use schemaRegistry.auth.existingSecret"
  "schema_registry.bearer_token" "use schemaRegistry.auth.existingSecret and bearerTokenKey"
  "schema_registry.ssl_cafile" "use schemaRegistry.tls.existingSecret"
  "schema_registry.ssl_certfile" "use schemaRegistry.tls.existingSecret and certKey"
  "schema_registry.ssl_keyfile" "use schemaRegistry.tls.existingSecret and keyKey"
  "schema_registry.ssl_password" "use schemaRegistry.tls.existingSecret and keyPasswordKey"
  "delivery.instance_id" "remove it: the chart uses namespace and pod name"
  "model.repository" "use models.source"
  "admin.enabled" "remove it: the probes need it"
  "admin.host" "remove it: the probes need 0.0.0.0"
  "admin.port" "use service.port"
  "admin.port_retries" "remove it: the port is fixed"
  "admin.token" "use admin.token.existingSecret"
  "admin.tls_cert_file" "use admin.tls.existingSecret"
  "admin.tls_key_file" "use admin.tls.existingSecret"
  "aggregate.webhook_url" "use aggregator.webhook.existingSecret"
  "telemetry.otlp_headers" "use extraEnv: FOREBAY_TELEMETRY__OTLP_HEADERS with valueFrom, because it is a secret"
  "privacy.hash_key" "use extraEnv: FOREBAY_PRIVACY__HASH_KEY with valueFrom, or privacy.hash_key_file, because it is a secret"
-}}
{{- range $section, $settings := $v.config -}}
{{- range $key, $_ := $settings -}}
{{- with get $instead (printf "%s.%s" $section $key) -}}
{{- fail (printf "config.%s.%s is set by the chart; %s" $section $key .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The short form and the list of models. Forebay would refuse them too, but only when the pods start. */ -}}
{{- if $v.config.models -}}
{{- range $section, $settings := dict "model" (pick ($v.config.model | default dict) "name" "version") "window" ($v.config.window | default dict) "decision" ($v.config.decision | default dict) -}}
{{- range $key, $value := $settings -}}
{{- if not (kindIs "invalid" $value) -}}
{{- fail (printf "config.%s.%s cannot be set together with config.models; move it to an entry of config.models" $section $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range $v.config.models -}}
{{- if has .name $names }}{{ fail (printf "config.models contains %s twice; events choose a model by its name" .name) }}{{ end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}

{{- /* With two entries of the same name, the result is undefined, and a server-side apply refuses them. */ -}}
{{- range $entry := concat $v.extraEnv $v.aggregator.extraEnv $v.evaluator.extraEnv -}}
{{- if has $entry.name (list "FOREBAY_CONFIG" "POD_NAME" "POD_NAMESPACE" "HOME" "OTEL_RESOURCE_ATTRIBUTES") -}}
{{- fail (printf "extraEnv: %s is set by the chart; remove it" $entry.name) -}}
{{- end -}}
{{- range $key, $use := $instead -}}
{{- if and (eq $entry.name (printf "FOREBAY_%s" ($key | replace "." "__" | upper))) (not (has $key (list "telemetry.otlp_headers" "privacy.hash_key"))) -}}
{{- fail (printf "extraEnv: %s is set by the chart; %s" $entry.name $use) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $entry.name "FOREBAY_PRIVACY__HASH_KEY") $entry.value -}}
{{- fail "extraEnv: FOREBAY_PRIVACY__HASH_KEY is a secret and would be readable in the pod's manifest; use valueFrom.secretKeyRef instead of value" -}}
{{- end -}}
{{- if and (eq $entry.name "FOREBAY_TELEMETRY__OTLP_HEADERS") $entry.value -}}
{{- fail "extraEnv: FOREBAY_TELEMETRY__OTLP_HEADERS is a secret and would be readable in the pod's manifest; use valueFrom.secretKeyRef instead of value" -}}
{{- end -}}
{{- end -}}
{{- with get ($v.config.telemetry | default dict) "otlp_endpoint" -}}
{{- if contains "@" . -}}
{{- fail "config.telemetry.otlp_endpoint contains a user name or password, which would be readable in the ConfigMap; use extraEnv: FOREBAY_TELEMETRY__OTLP_ENDPOINT with valueFrom.secretKeyRef" -}}
{{- end -}}
{{- end -}}

{{- /* Authentication and encryption. */ -}}
{{- with $v.kafka.sasl -}}
{{- if .enabled -}}
{{- if eq .mechanism "OAUTHBEARER" -}}
{{- if not .tokenCommand }}{{ fail "kafka.sasl.tokenCommand is not set; mechanism OAUTHBEARER requires it" }}{{ end -}}
{{- if or .username .password .existingSecret }}{{ fail "kafka.sasl.username, password and existingSecret cannot be used with mechanism OAUTHBEARER; leave them empty" }}{{ end -}}
{{- else -}}
{{- if .tokenCommand }}{{ fail (printf "kafka.sasl.tokenCommand requires mechanism OAUTHBEARER, but kafka.sasl.mechanism is %s; leave tokenCommand empty" .mechanism) }}{{ end -}}
{{- if and .password .existingSecret }}{{ fail "kafka.sasl.password and kafka.sasl.existingSecret are both set; leave one of them empty" }}{{ end -}}
{{- if not (or .password .existingSecret) }}{{ fail "kafka.sasl.existingSecret and kafka.sasl.password are both empty; set one of them" }}{{ end -}}
{{- if not (or .username .existingSecret) }}{{ fail "kafka.sasl.username is not set; set it, or use a kafka.sasl.existingSecret that contains it" }}{{ end -}}
{{- end -}}
{{- else if or .username .password .existingSecret .tokenCommand -}}
{{- fail "kafka.sasl.enabled is false, but other values under kafka.sasl are set; set it to true" -}}
{{- end -}}
{{- end -}}
{{- with $v.schemaRegistry -}}
{{- if and (not .urls) (or .auth.existingSecret .tls.existingSecret) }}{{ fail "schemaRegistry.urls is empty, but schemaRegistry.auth or tls is set; set it" }}{{ end -}}
{{- if and (not .tls.existingSecret) (or .tls.certKey .tls.keyKey .tls.keyPasswordKey) }}{{ fail "schemaRegistry.tls.certKey, keyKey and keyPasswordKey are keys of schemaRegistry.tls.existingSecret, which is not set; set it" }}{{ end -}}
{{- if and .tls.keyKey (not .tls.certKey) }}{{ fail "schemaRegistry.tls has a private key but no certificate; set schemaRegistry.tls.certKey too" }}{{ end -}}
{{- if and (not .auth.existingSecret) .auth.bearerTokenKey }}{{ fail "schemaRegistry.auth.bearerTokenKey is a key of schemaRegistry.auth.existingSecret, which is not set; set it" }}{{ end -}}
{{- end -}}
{{- with $v.kafka.tls -}}
{{- if and (not .enabled) (or .existingSecret .ca .cert .key) }}{{ fail "kafka.tls.enabled is false, but certificates are set under kafka.tls; set it to true" }}{{ end -}}
{{- if and .existingSecret (or .ca .cert .key) }}{{ fail "kafka.tls.existingSecret and kafka.tls.ca, cert or key are both set; leave one of them empty" }}{{ end -}}
{{- if and (not .existingSecret) (or .certKey .keyKey .keyPasswordKey) }}{{ fail "kafka.tls.certKey, keyKey and keyPasswordKey are keys of kafka.tls.existingSecret, which is not set; set it" }}{{ end -}}
{{- if or (and .keyKey (not .certKey)) (and .key (not .cert)) }}{{ fail "kafka.tls has a private key but no certificate; set kafka.tls.certKey (or cert) too" }}{{ end -}}
{{- end -}}
{{- if and $v.admin.token.value $v.admin.token.existingSecret -}}
{{- fail "admin.token.value and admin.token.existingSecret are both set; leave one of them empty" -}}
{{- end -}}

{{- if and $v.aggregator.webhook.value $v.aggregator.webhook.existingSecret -}}
{{- fail "aggregator.webhook.value and aggregator.webhook.existingSecret are both set; leave one of them empty" -}}
{{- end -}}
{{- if and (or $v.aggregator.webhook.value $v.aggregator.webhook.existingSecret) (not $v.aggregator.enabled) -}}
{{- fail "aggregator.webhook is set, but aggregator.enabled is false, so no alerts would be sent; set it to true" -}}
{{- end -}}
{{- if and $v.evaluator.enabled (has false (list (dig "evaluate" "enabled" true ($v.config | default dict)))) -}}
{{- fail "evaluator.enabled is true, but config.evaluate.enabled is false; remove the latter, which the chart sets" -}}
{{- end -}}
{{- if and (ne $v.service.type "ClusterIP") (not (or $v.admin.token.value $v.admin.token.existingSecret)) -}}
{{- fail (printf "service.type = %s requires a token, because every client that can connect could pause the workers and request predictions; set admin.token.existingSecret, or service.type=ClusterIP" $v.service.type) -}}
{{- end -}}

{{- /* The workload. */ -}}
{{- if and (eq $v.kind "Deployment") (include "forebay.staticMembership" .) -}}
{{- fail "staticMembership requires kind StatefulSet, because a Deployment never reuses pod names; set kind=StatefulSet, or leave staticMembership null" -}}
{{- end -}}
{{- $needed := add $v.preStopSleepSeconds (include "forebay.drainSeconds" .) 5 | int -}}
{{- if lt (include "forebay.gracePeriod" . | int) $needed -}}
{{- fail (printf "terminationGracePeriodSeconds = %v is too short: preStopSleepSeconds, config.delivery.drain_timeout_ms and 5 s add up to %v; leave it null, or set at least this value" $v.terminationGracePeriodSeconds $needed) -}}
{{- end -}}
{{- if and (eq $v.models.source "initContainer") (not $v.models.initContainer.image) -}}
{{- fail "models.initContainer.image is not set; models.source initContainer requires it" -}}
{{- end -}}
{{- if and (ne $v.models.source "initContainer") $v.models.initContainer -}}
{{- fail (printf "models.initContainer is set, but models.source is %s; set it to initContainer" $v.models.source) -}}
{{- end -}}
{{- if and (ne $v.models.source "claim") $v.models.claim.existingClaim -}}
{{- fail (printf "models.claim.existingClaim is set, but models.source is %s; set it to claim" $v.models.source) -}}
{{- end -}}
{{- if and $v.podDisruptionBudget.enabled (not (kindIs "invalid" $v.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" $v.podDisruptionBudget.maxUnavailable)) -}}
{{- fail "podDisruptionBudget.minAvailable and maxUnavailable are both set; set one of them to null" -}}
{{- end -}}

{{- /* Scaling. */ -}}
{{- $partitions := include "forebay.partitions" . | int -}}
{{- if and $v.autoscaling.enabled $v.keda.enabled -}}
{{- fail "autoscaling.enabled and keda.enabled are both true, but only one can scale the workload; set one of them to false" -}}
{{- end -}}
{{- range $name := list "autoscaling" "keda" -}}
{{- $scaling := get $v $name -}}
{{- if $scaling.enabled -}}
{{- $useful := include "forebay.maxReplicas" $ | int -}}
{{- $most := $scaling.maxReplicas | default $useful | int -}}
{{- if gt $most $useful -}}
{{- $processes := include "forebay.processes" $ | int -}}
{{- $each := gt $processes 1 | ternary (printf " for pods with %d processes" $processes) "" -}}
{{- fail (printf "%s.maxReplicas = %d is greater than the number of input partitions, %d%s, so some workers would be idle; set config.topics.partitions to the partitions of the input topics, or leave maxReplicas null" $name $most $partitions $each) -}}
{{- end -}}
{{- if gt ($scaling.minReplicas | int) $most -}}
{{- fail (printf "%s.minReplicas = %d is greater than the maximum, %d; lower it" $name ($scaling.minReplicas | int) $most) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $v.autoscaling -}}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not .targetMemoryUtilizationPercentage) -}}
{{- fail "autoscaling.targetCPUUtilizationPercentage and targetMemoryUtilizationPercentage are both null; set one of them" -}}
{{- end -}}
{{- end -}}
{{- if $v.keda.enabled -}}
{{- if eq $v.keda.trigger "prometheus" -}}
{{- if not $v.keda.prometheus.serverAddress }}{{ fail "keda.prometheus.serverAddress is not set; set it, for example to http://prometheus-operated.monitoring:9090" }}{{ end -}}
{{- if eq ($v.keda.minReplicas | int) 0 }}{{ fail "keda.minReplicas = 0 requires keda.trigger kafka: without a worker, no lag is reported to Prometheus, and no worker would ever start" }}{{ end -}}
{{- else -}}
{{- if eq $v.kafka.sasl.mechanism "OAUTHBEARER" }}{{ if $v.kafka.sasl.enabled }}{{ fail "keda.trigger kafka does not support mechanism OAUTHBEARER; use keda.trigger prometheus" }}{{ end }}{{ end -}}
{{- $markers := $partitions -}}
{{- if and (not (kindIs "invalid" $v.keda.kafka.activationLagThreshold)) (le ($v.keda.kafka.activationLagThreshold | int) $markers) -}}
{{- fail (printf "keda.kafka.activationLagThreshold = %d must be greater than the number of input partitions, %d: each transaction leaves a marker in each partition, which counts as lag and which workers do not remove" ($v.keda.kafka.activationLagThreshold | int) $markers) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled and podMonitor.enabled are both true, so all metrics would be scraped twice; set one of them to false" -}}
{{- end -}}
{{- end }}
