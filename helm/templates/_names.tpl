{{/* The chart's name and the release's full name: at most 50 characters, so that names with a suffix fit into 63. */}}
{{- define "forebay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "forebay.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "forebay.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "forebay.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Takes a dict: root, component (optional). These labels never change during the life of a release: selectors use them. */}}
{{- define "forebay.selectorLabels" -}}
app.kubernetes.io/name: {{ include "forebay.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "forebay.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "forebay.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The metadata of an object. Takes a dict: root, component, suffix, namespace, labels, annotations (all optional except root). */}}
{{- define "forebay.metadata" -}}
name: {{ include "forebay.fullname" .root }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- include "forebay.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Describes the clients that can reach the admin API. */}}
{{- define "forebay.adminClients" -}}
{{- if not .Values.networkPolicy.enabled -}}
from the whole cluster
{{- else if .Values.networkPolicy.ingressFrom -}}
from networkPolicy.ingressFrom
{{- else -}}
from namespace {{ .Release.Namespace }}
{{- end -}}
{{- end }}

{{- define "forebay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "forebay.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "forebay.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* "true" if pods are static members of the group. */}}
{{- define "forebay.staticMembership" -}}
{{- if kindIs "bool" .Values.staticMembership -}}
{{- if .Values.staticMembership }}true{{ end }}
{{- else if eq .Values.kind "StatefulSet" -}}
true
{{- end }}
{{- end }}
