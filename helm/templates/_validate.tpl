{{/* What the schema cannot say: values that do not go together. Each message names the value and the remedy. */}}
{{- define "forebay.validate" -}}
{{- $v := .Values -}}
{{- if not $v.kafka.bootstrapServers -}}
{{- fail "kafka.bootstrapServers is not set: give the brokers, such as --set kafka.bootstrapServers=kafka:9092" -}}
{{- end -}}

{{- /* Settings that the chart decides, and secrets, which are no matter for a ConfigMap. */ -}}
{{- $instead := dict
  "kafka.bootstrap_servers" "kafka.bootstrapServers"
  "kafka.group_id" "kafka.groupId"
  "kafka.group_instance_id" "staticMembership"
  "kafka.security_protocol" "kafka.sasl.enabled and kafka.tls.enabled"
  "kafka.sasl_mechanism" "kafka.sasl.mechanism"
  "kafka.sasl_username" "kafka.sasl.username"
  "kafka.sasl_password" "kafka.sasl.existingSecret"
  "kafka.sasl_oauth_token_command" "kafka.sasl.tokenCommand"
  "kafka.ssl_cafile" "kafka.tls.existingSecret"
  "kafka.ssl_certfile" "kafka.tls.existingSecret and certKey"
  "kafka.ssl_keyfile" "kafka.tls.existingSecret and keyKey"
  "kafka.ssl_password" "kafka.tls.existingSecret and keyPasswordKey"
  "kafka.ssl_check_hostname" "kafka.tls.checkHostname"
  "delivery.instance_id" "nothing: it is the pod's name"
  "model.repository" "models.source"
  "admin.enabled" "nothing: the probes need it"
  "admin.host" "nothing: it is 0.0.0.0, as the probes need"
  "admin.port" "service.port"
  "admin.port_retries" "nothing: the port is the Service's"
  "admin.token" "admin.token.existingSecret"
  "admin.tls_cert_file" "admin.tls.existingSecret"
  "admin.tls_key_file" "admin.tls.existingSecret"
  "aggregate.webhook_url" "aggregator.webhook.existingSecret"
  "telemetry.otlp_headers" "extraEnv: FOREBAY_TELEMETRY__OTLP_HEADERS by valueFrom, since it is a secret"
-}}
{{- range $section, $settings := $v.config -}}
{{- range $key, $_ := $settings -}}
{{- with get $instead (printf "%s.%s" $section $key) -}}
{{- fail (printf "config.%s.%s is the chart's to set; use %s" $section $key .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Two entries of one name: which holds is undefined, and a server-side apply refuses them. */ -}}
{{- range $entry := concat $v.extraEnv $v.aggregator.extraEnv -}}
{{- if has $entry.name (list "FOREBAY_CONFIG" "POD_NAME" "POD_NAMESPACE" "HOME" "OTEL_RESOURCE_ATTRIBUTES") -}}
{{- fail (printf "extraEnv: %s is the chart's to set; leave it out" $entry.name) -}}
{{- end -}}
{{- range $key, $use := $instead -}}
{{- if and (eq $entry.name (printf "FOREBAY_%s" ($key | replace "." "__" | upper))) (ne $key "telemetry.otlp_headers") -}}
{{- fail (printf "extraEnv: %s is the chart's to set; use %s" $entry.name $use) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $entry.name "FOREBAY_TELEMETRY__OTLP_HEADERS") $entry.value -}}
{{- fail "extraEnv: FOREBAY_TELEMETRY__OTLP_HEADERS is a secret and would be readable in the pod's manifest; give it by valueFrom.secretKeyRef instead of value" -}}
{{- end -}}
{{- end -}}
{{- with get ($v.config.telemetry | default dict) "otlp_endpoint" -}}
{{- if contains "@" . -}}
{{- fail "config.telemetry.otlp_endpoint holds a user or password, which would be readable in the ConfigMap; use extraEnv: FOREBAY_TELEMETRY__OTLP_ENDPOINT by valueFrom.secretKeyRef" -}}
{{- end -}}
{{- end -}}

{{- /* Login and encryption. */ -}}
{{- with $v.kafka.sasl -}}
{{- if .enabled -}}
{{- if eq .mechanism "OAUTHBEARER" -}}
{{- if not .tokenCommand }}{{ fail "kafka.sasl.tokenCommand is not set, which mechanism OAUTHBEARER needs" }}{{ end -}}
{{- if or .username .password .existingSecret }}{{ fail "kafka.sasl.username, password and existingSecret are not for mechanism OAUTHBEARER; leave them empty" }}{{ end -}}
{{- else -}}
{{- if .tokenCommand }}{{ fail (printf "kafka.sasl.tokenCommand is for mechanism OAUTHBEARER, not for %s" .mechanism) }}{{ end -}}
{{- if and .password .existingSecret }}{{ fail "kafka.sasl.password and kafka.sasl.existingSecret are both set; leave one of them empty" }}{{ end -}}
{{- if not (or .password .existingSecret) }}{{ fail "kafka.sasl.existingSecret is not set, and neither is kafka.sasl.password: one of them has to be" }}{{ end -}}
{{- if not (or .username .existingSecret) }}{{ fail "kafka.sasl.username is not set, and there is no kafka.sasl.existingSecret to hold it" }}{{ end -}}
{{- end -}}
{{- else if or .username .password .existingSecret .tokenCommand -}}
{{- fail "kafka.sasl.enabled is false, but other values under kafka.sasl are set; set it to true" -}}
{{- end -}}
{{- end -}}
{{- with $v.kafka.tls -}}
{{- if and (not .enabled) (or .existingSecret .ca .cert .key) }}{{ fail "kafka.tls.enabled is false, but certificates are given under kafka.tls; set it to true" }}{{ end -}}
{{- if and .existingSecret (or .ca .cert .key) }}{{ fail "kafka.tls.existingSecret and kafka.tls.ca, cert or key are both set; leave one of them empty" }}{{ end -}}
{{- if and (not .existingSecret) (or .certKey .keyKey .keyPasswordKey) }}{{ fail "kafka.tls.certKey, keyKey and keyPasswordKey name keys of kafka.tls.existingSecret, which is not set" }}{{ end -}}
{{- if or (and .keyKey (not .certKey)) (and .key (not .cert)) }}{{ fail "kafka.tls has a private key but no certificate; set kafka.tls.certKey (or cert) too" }}{{ end -}}
{{- end -}}
{{- if and $v.admin.token.value $v.admin.token.existingSecret -}}
{{- fail "admin.token.value and admin.token.existingSecret are both set; leave one of them empty" -}}
{{- end -}}

{{- if and $v.aggregator.webhook.value $v.aggregator.webhook.existingSecret -}}
{{- fail "aggregator.webhook.value and aggregator.webhook.existingSecret are both set; leave one of them empty" -}}
{{- end -}}
{{- if and (or $v.aggregator.webhook.value $v.aggregator.webhook.existingSecret) (not $v.aggregator.enabled) -}}
{{- fail "aggregator.webhook is set, but aggregator.enabled is false: nothing would post alerts to it; set it to true" -}}
{{- end -}}
{{- if and (ne $v.service.type "ClusterIP") (not (or $v.admin.token.value $v.admin.token.existingSecret)) -}}
{{- fail (printf "service.type = %s without a token: every client that reaches the address could pause the workers and ask for predictions; set admin.token.existingSecret, or service.type=ClusterIP" $v.service.type) -}}
{{- end -}}

{{- /* The workload. */ -}}
{{- if and (eq $v.kind "Deployment") (include "forebay.staticMembership" .) -}}
{{- fail "staticMembership is for kind StatefulSet: a Deployment's pods never come back under their names" -}}
{{- end -}}
{{- $needed := add $v.preStopSleepSeconds (include "forebay.drainSeconds" .) 5 | int -}}
{{- if lt (include "forebay.gracePeriod" . | int) $needed -}}
{{- fail (printf "terminationGracePeriodSeconds = %v is too short: preStopSleepSeconds, config.delivery.drain_timeout_ms and 5 more make %v; leave it null, or give at least that" $v.terminationGracePeriodSeconds $needed) -}}
{{- end -}}
{{- if and (eq $v.models.source "initContainer") (not $v.models.initContainer.image) -}}
{{- fail "models.initContainer.image is not set, which models.source initContainer needs" -}}
{{- end -}}
{{- if and (ne $v.models.source "initContainer") $v.models.initContainer -}}
{{- fail (printf "models.initContainer is set, but models.source is %s; set it to initContainer" $v.models.source) -}}
{{- end -}}
{{- if and (ne $v.models.source "claim") $v.models.claim.existingClaim -}}
{{- fail (printf "models.claim.existingClaim is set, but models.source is %s; set it to claim" $v.models.source) -}}
{{- end -}}
{{- if and $v.podDisruptionBudget.enabled (not (kindIs "invalid" $v.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" $v.podDisruptionBudget.maxUnavailable)) -}}
{{- fail "podDisruptionBudget.minAvailable and maxUnavailable are both set; set the other to null" -}}
{{- end -}}

{{- /* Scaling. */ -}}
{{- $partitions := include "forebay.partitions" . | int -}}
{{- if and $v.autoscaling.enabled $v.keda.enabled -}}
{{- fail "autoscaling.enabled and keda.enabled are both true: two would scale one workload; set one of them to false" -}}
{{- end -}}
{{- range $name := list "autoscaling" "keda" -}}
{{- $scaling := get $v $name -}}
{{- if $scaling.enabled -}}
{{- $most := $scaling.maxReplicas | default $partitions | int -}}
{{- if gt $most $partitions -}}
{{- fail (printf "%s.maxReplicas = %d is more than the input's %d partitions: the other workers would have nothing to do. Set config.topics.partitions to what the input topics have, or leave maxReplicas null" $name $most $partitions) -}}
{{- end -}}
{{- if gt ($scaling.minReplicas | int) $most -}}
{{- fail (printf "%s.minReplicas = %d is more than the most, %d" $name ($scaling.minReplicas | int) $most) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $v.autoscaling -}}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not .targetMemoryUtilizationPercentage) -}}
{{- fail "autoscaling has neither targetCPUUtilizationPercentage nor targetMemoryUtilizationPercentage; set one of them" -}}
{{- end -}}
{{- end -}}
{{- if $v.keda.enabled -}}
{{- if eq $v.keda.trigger "prometheus" -}}
{{- if not $v.keda.prometheus.serverAddress }}{{ fail "keda.prometheus.serverAddress is not set, such as http://prometheus-operated.monitoring:9090" }}{{ end -}}
{{- if eq ($v.keda.minReplicas | int) 0 }}{{ fail "keda.minReplicas = 0 needs keda.trigger kafka: without a worker nobody measures the lag for Prometheus, and none would start" }}{{ end -}}
{{- else -}}
{{- if eq $v.kafka.sasl.mechanism "OAUTHBEARER" }}{{ if $v.kafka.sasl.enabled }}{{ fail "keda.trigger kafka cannot log in with a token command; use keda.trigger prometheus" }}{{ end }}{{ end -}}
{{- $markers := $partitions -}}
{{- if and (not (kindIs "invalid" $v.keda.kafka.activationLagThreshold)) (le ($v.keda.kafka.activationLagThreshold | int) $markers) -}}
{{- fail (printf "keda.kafka.activationLagThreshold = %d must be more than the input's %d partitions: a transaction leaves a marker in each, which counts as lag and which no worker takes away" ($v.keda.kafka.activationLagThreshold | int) $markers) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled and podMonitor.enabled are both true: everything would be scraped twice; set one of them to false" -}}
{{- end -}}
{{- end }}
