{{/* Renders a value as TOML. Helm reads numbers from values.yaml as floats; toJson writes integers without a decimal point. */}}
{{- define "forebay.toml.value" -}}
{{- if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $pairs = append $pairs (printf "%s = %s" (regexMatch "^[A-Za-z0-9_-]+$" $key | ternary $key (toJson $key)) (include "forebay.toml.value" $value)) -}}
{{- end -}}
{{- end -}}
{{ printf "{ %s }" (join ", " $pairs) }}
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . }}{{ $items = append $items (include "forebay.toml.value" .) }}{{ end -}}
{{ printf "[%s]" (join ", " $items) }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{/* A setting of `config`, or Forebay's default for settings that the chart uses. Takes a dict: root, section, key. */}}
{{- define "forebay.setting" -}}
{{- $defaults := dict "topics.partitions" 4 "delivery.drain_timeout_ms" 20000 -}}
{{- $given := pick (get .root.Values.config .section | default dict) .key | values | first -}}
{{- toJson (kindIs "invalid" $given | ternary (get $defaults (printf "%s.%s" .section .key)) $given) -}}
{{- end }}

{{/*
The input topics, as a JSON list: those in `config`, or else the topics of all models, after `features` if the first model has
none, as Forebay derives them.
*/}}
{{- define "forebay.inputTopics" -}}
{{- $given := ((.Values.config).input).topics -}}
{{- $models := (.Values.config).models | default list -}}
{{- $topics := list -}}
{{- if not ($models | first | default dict).topics }}{{ $topics = list "features" }}{{ end -}}
{{- range $models }}{{ $topics = concat $topics (.topics | default list) }}{{ end -}}
{{- toJson (kindIs "invalid" $given | ternary (uniq $topics) $given) -}}
{{- end }}

{{/* The number of input partitions of all topics. Workers in excess of it are idle. */}}
{{- define "forebay.partitions" -}}
{{- $topics := include "forebay.inputTopics" . | fromJsonArray -}}
{{- mul (len $topics) (include "forebay.setting" (dict "root" . "section" "topics" "key" "partitions") | int) -}}
{{- end }}

{{/* The number of worker processes in each pod; 1 for auto, which is known only when a pod starts. */}}
{{- define "forebay.processes" -}}
{{- $given := ((.Values.config).worker).processes | default .Values.worker.processes | default 1 -}}
{{- if eq ($given | toString) "auto" }}1{{ else }}{{ $given | int }}{{ end -}}
{{- end }}

{{/* The number of pods beyond which further ones are idle. */}}
{{- define "forebay.maxReplicas" -}}
{{- $processes := include "forebay.processes" . | int -}}
{{- div (add (include "forebay.partitions" . | int) $processes -1) $processes -}}
{{- end }}

{{/* "true" if the model of the test's event, which goes to the first input topic, predicts windows of events. */}}
{{- define "forebay.windows" -}}
{{- $window := (.Values.config).window -}}
{{- with (.Values.config).models -}}
{{- $topic := include "forebay.inputTopics" $ | fromJsonArray | first -}}
{{- $model := first . -}}
{{- range . }}{{ if has $topic (.topics | default list) }}{{ $model = . }}{{ end }}{{ end -}}
{{- range . }}{{ if and $.Values.tests.model (eq .name $.Values.tests.model) }}{{ $model = . }}{{ end }}{{ end -}}
{{- $window = $model.window -}}
{{- end -}}
{{- if ne (get ($window | default dict) "kind" | default "none") "none" }}true{{ end -}}
{{- end }}

{{- define "forebay.drainSeconds" -}}
{{- $ms := include "forebay.setting" (dict "root" . "section" "delivery" "key" "drain_timeout_ms") | int -}}
{{- div (add $ms 999) 1000 -}}
{{- end }}

{{/* Seconds until a draining pod is killed: preStop, the drain, leaving the group, and the last requests. */}}
{{- define "forebay.gracePeriod" -}}
{{- .Values.terminationGracePeriodSeconds | default (add .Values.preStopSleepSeconds (include "forebay.drainSeconds" .) 15) | int -}}
{{- end }}

{{- define "forebay.groupId" -}}
{{- .Values.kafka.groupId | default (include "forebay.fullname" .) -}}
{{- end }}

{{- define "forebay.securityProtocol" -}}
{{- ternary "SASL_" "" .Values.kafka.sasl.enabled -}}
{{- ternary "SSL" "PLAINTEXT" .Values.kafka.tls.enabled -}}
{{- end }}

{{/* "true" if certificates are mounted. */}}
{{- define "forebay.hasCertificates" -}}
{{- $tls := .Values.kafka.tls -}}
{{- if and $tls.enabled (or $tls.existingSecret $tls.ca $tls.cert $tls.key) }}true{{ end -}}
{{- end }}

{{/* The file names of the mounted certificates, which are the Secret's keys, as {"ca", "cert", "key"}. */}}
{{- define "forebay.certificates" -}}
{{- $tls := .Values.kafka.tls -}}
{{- $files := dict -}}
{{- if include "forebay.hasCertificates" . -}}
{{- if $tls.existingSecret -}}
{{- $files = dict "ca" $tls.caKey "cert" $tls.certKey "key" $tls.keyKey -}}
{{- else -}}
{{- $files = dict "ca" (ternary "ca.crt" "" (not (empty $tls.ca))) "cert" (ternary "tls.crt" "" (not (empty $tls.cert))) "key" (ternary "tls.key" "" (not (empty $tls.key))) -}}
{{- end -}}
{{- end -}}
{{- toJson $files -}}
{{- end }}

{{/* The settings that the chart sets. `config` is merged over them. */}}
{{- define "forebay.ownConfig" -}}
{{- $kafka := dict "bootstrap_servers" .Values.kafka.bootstrapServers "group_id" (include "forebay.groupId" .) -}}
{{- $_ := set $kafka "security_protocol" (include "forebay.securityProtocol" .) -}}
{{- with .Values.kafka.sasl -}}
{{- if .enabled -}}
{{- $_ := set $kafka "sasl_mechanism" .mechanism -}}
{{- if eq .mechanism "OAUTHBEARER" -}}
{{- $_ := set $kafka "sasl_oauth_token_command" .tokenCommand -}}
{{- else if .username -}}
{{- $_ := set $kafka "sasl_username" .username -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $files := include "forebay.certificates" . | fromJson -}}
{{- range $name, $setting := dict "ca" "ssl_cafile" "cert" "ssl_certfile" "key" "ssl_keyfile" -}}
{{- with get $files $name }}{{ $_ := set $kafka $setting (printf "/etc/forebay/kafka-tls/%s" .) }}{{ end -}}
{{- end -}}
{{- if and .Values.kafka.tls.enabled (not .Values.kafka.tls.checkHostname) -}}
{{- $_ := set $kafka "ssl_check_hostname" false -}}
{{- end -}}
{{- $registry := dict -}}
{{- with .Values.schemaRegistry -}}
{{- with .urls }}{{ $_ := set $registry "urls" . }}{{ end -}}
{{- if .tls.existingSecret -}}
{{- $tls := .tls -}}
{{- range $name, $setting := dict "caKey" "ssl_cafile" "certKey" "ssl_certfile" "keyKey" "ssl_keyfile" -}}
{{- with get $tls $name }}{{ $_ := set $registry $setting (printf "/etc/forebay/schema-registry-tls/%s" .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $model := dict "repository" "/models" -}}
{{- if and (eq .Values.models.source "example") (not (.Values.config).models) }}{{ $_ := set $model "name" "example" }}{{ end -}}
{{- if .Values.gpu.enabled }}{{ $_ := set $model "device" "cuda" }}{{ end -}}
{{- $admin := dict "host" "0.0.0.0" "port" 8080 "port_retries" 0 -}}
{{- if .Values.admin.tls.existingSecret -}}
{{- $_ := set $admin "tls_cert_file" "/etc/forebay/admin-tls/tls.crt" -}}
{{- $_ := set $admin "tls_key_file" "/etc/forebay/admin-tls/tls.key" -}}
{{- end -}}
{{- $own := dict "kafka" $kafka "model" $model "admin" $admin "log" (dict "format" "json") -}}
{{- with $registry }}{{ $_ := set $own "schema_registry" . }}{{ end -}}
{{- with .Values.worker.processes }}{{ $_ := set $own "worker" (dict "processes" .) }}{{ end -}}
{{- if .Values.evaluator.enabled }}{{ $_ := set $own "evaluate" (dict "enabled" true) }}{{ end -}}
{{- toJson $own -}}
{{- end }}

{{/*
The names of the release's Services and those in `config`, as a JSON list. The admin API refuses other host names, to prevent DNS
rebinding. IP addresses, which probes and Prometheus use, are always accepted.
*/}}
{{- define "forebay.allowedHosts" -}}
{{- $name := include "forebay.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $hosts := list $name (printf "%s.%s" $name $namespace) (printf "%s-aggregator" $name) (printf ".%s-headless" $name) -}}
{{- if .Values.evaluator.enabled }}{{ $hosts = append $hosts (printf "%s-evaluator" $name) }}{{ end -}}
{{- $hosts = concat $hosts (list (printf ".%s.svc" $namespace) (printf ".%s.svc.cluster.local" $namespace)) -}}
{{- toJson (concat $hosts (((.Values.config).admin).allowed_hosts | default list)) -}}
{{- end }}

{{/* forebay.toml. */}}
{{- define "forebay.toml" -}}
{{- $config := mergeOverwrite (include "forebay.ownConfig" . | fromJson) .Values.config -}}
{{- $_ := set $config.admin "allowed_hosts" (include "forebay.allowedHosts" . | fromJsonArray) -}}
{{- range $section, $settings := $config }}
{{- if eq $section "models" }}
{{- range $settings }}
[[models]]
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "forebay.toml.value" $value }}
{{- end }}
{{- end }}
{{ end }}
{{- else if $settings }}
[{{ $section }}]
{{- range $key, $value := $settings }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "forebay.toml.value" $value }}
{{- end }}
{{- end }}
{{ end }}
{{- end }}
{{- end }}
