{{/* The environment of every Forebay container: the configuration file, the pod's identity, and secrets by reference. */}}
{{- define "forebay.env" -}}
- name: FOREBAY_CONFIG
  value: /etc/forebay/forebay.toml
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: HOME
  value: /tmp
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME)
{{- $name := include "forebay.fullname" . }}
{{- with .Values.kafka.sasl }}
{{- if and .enabled (ne .mechanism "OAUTHBEARER") }}
{{- if not .username }}
- name: FOREBAY_KAFKA__SASL_USERNAME
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .usernameKey }}}}
{{- end }}
- name: FOREBAY_KAFKA__SASL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .existingSecret | default $name }}, key: {{ ternary .passwordKey "sasl-password" (not (empty .existingSecret)) }}}}
{{- end }}
{{- end }}
{{- with .Values.kafka.tls }}
{{- if and .enabled .keyPasswordKey }}
- name: FOREBAY_KAFKA__SSL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .keyPasswordKey }}}}
{{- end }}
{{- end }}
{{- with .Values.schemaRegistry.auth }}
{{- if .existingSecret }}
{{- if .bearerTokenKey }}
- name: FOREBAY_SCHEMA_REGISTRY__BEARER_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .bearerTokenKey }}}}
{{- else }}
- name: FOREBAY_SCHEMA_REGISTRY__USERNAME
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .usernameKey }}}}
- name: FOREBAY_SCHEMA_REGISTRY__PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .passwordKey }}}}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.schemaRegistry.tls }}
{{- if and .existingSecret .keyPasswordKey }}
- name: FOREBAY_SCHEMA_REGISTRY__SSL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .keyPasswordKey }}}}
{{- end }}
{{- end }}
{{- with .Values.admin.token }}
{{- if or .value .existingSecret }}
- name: FOREBAY_ADMIN__TOKEN
  valueFrom: {secretKeyRef: {name: {{ .existingSecret | default $name }}, key: {{ ternary .key "admin-token" (not (empty .existingSecret)) }}}}
{{- end }}
{{- end }}
{{- end }}

{{- define "forebay.volumeMounts" -}}
- {name: config, mountPath: /etc/forebay/forebay.toml, subPath: forebay.toml, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if include "forebay.hasCertificates" . }}
- {name: kafka-tls, mountPath: /etc/forebay/kafka-tls, readOnly: true}
{{- end }}
{{- if .Values.schemaRegistry.tls.existingSecret }}
- {name: schema-registry-tls, mountPath: /etc/forebay/schema-registry-tls, readOnly: true}
{{- end }}
{{- if .Values.admin.tls.existingSecret }}
- {name: admin-tls, mountPath: /etc/forebay/admin-tls, readOnly: true}
{{- end }}
{{- end }}

{{- define "forebay.volumes" -}}
- name: config
  configMap: {name: {{ include "forebay.fullname" . }}}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.tmpSizeLimit }}}
{{- if include "forebay.hasCertificates" . }}
- name: kafka-tls
  secret: {secretName: {{ .Values.kafka.tls.existingSecret | default (include "forebay.fullname" .) }}, defaultMode: 0440}
{{- end }}
{{- with .Values.schemaRegistry.tls.existingSecret }}
- name: schema-registry-tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.admin.tls.existingSecret }}
- name: admin-tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{/* The fields that all containers of the image have in common. Takes a dict: root, name. */}}
{{- define "forebay.container" -}}
name: {{ .name }}
image: {{ include "forebay.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
{{- end }}

{{/* The probes, over HTTPS if the admin API uses it. A probe that is null is left out. */}}
{{- define "forebay.probes" -}}
{{- $probes := dict }}
{{- range $name := list "startupProbe" "livenessProbe" "readinessProbe" }}
{{- with get $.Values $name }}
{{- $probe := deepCopy . }}
{{- if and $.Values.admin.tls.existingSecret $probe.httpGet }}
{{- $_ := set $probe.httpGet "scheme" "HTTPS" }}
{{- end }}
{{- $_ := set $probes $name $probe }}
{{- end }}
{{- end }}
{{- if $probes }}{{ toYaml $probes }}{{ end }}
{{- end }}

{{/* The metadata of a pod. Takes a dict: root, component, labels, annotations. */}}
{{- define "forebay.podMetadata" -}}
labels:
  {{- include "forebay.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: {{ .component }}
  # Settings are read at start. A change of the chart's ConfigMap or Secret replaces the pods.
  checksum/config: {{ include "forebay.toml" .root | sha256sum }}
  {{- with include "forebay.secretData" .root }}
  checksum/secret: {{ . | sha256sum }}
  {{- end }}
  {{- with merge (dict) .annotations .root.Values.commonAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The fields that the pods of all roles have in common. Takes a dict: root, pod (nodeSelector, tolerations, affinity, ...). */}}
{{- define "forebay.podCommon" -}}
serviceAccountName: {{ include "forebay.serviceAccountName" .root }}
automountServiceAccountToken: {{ .root.Values.serviceAccount.automount }}
# Otherwise Kubernetes adds FOREBAY_... variables for the Services, which look like settings.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "forebay.gracePeriod" .root }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Creates missing topics. Existing topics are not changed, so each pod can run it. Takes a dict: root, resources. */}}
{{- define "forebay.topicsContainer" -}}
- {{ include "forebay.container" (dict "root" .root "name" "topics") | indent 2 | trim }}
  args: [topics, create]
  env:
    {{- include "forebay.env" .root | nindent 4 }}
    {{- with .root.Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .root.Values.extraEnvFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    {{- include "forebay.volumeMounts" .root | nindent 4 }}
    {{- with .root.Values.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
