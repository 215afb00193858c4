{{- define "tidegate.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "tidegate.serviceAccount" -}}
{{ default (include "tidegate.name" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "tidegate.defaultConfig" -}}
memory_limit: 16MiB
sources:
  {{- if eq .Values.mode "daemonset" }}
  # Its own log would be read, and written, and read again.
  in: {type: kubernetes_logs, exclude: {pods: [{{ printf "%s-*" (include "tidegate.name" .) | quote }}]}}
  {{- else }}
  in: {type: http, listen: "0.0.0.0:8098"}
  {{- end }}
transforms:
  clean: {type: redact, inputs: [in], detect: [secrets, jwt, private_key], except: [kubernetes]}
sinks:
  out: {type: console, inputs: [clean]}
{{- end }}

{{- define "tidegate.config" -}}
{{- $config := .Values.config | default (include "tidegate.defaultConfig" . | fromYaml) -}}
{{- $own := dict "data_dir" "/var/lib/tidegate" "api" (dict "listen" "0.0.0.0:8686") "shutdown_timeout" (printf "%ds" (int .Values.shutdownTimeoutSeconds)) -}}
{{- mergeOverwrite (deepCopy $config) $own | toYaml -}}
{{- end }}

{{- define "tidegate.container" -}}
name: tidegate
image: "{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [run, --config, /etc/tidegate/tidegate.yaml]
env:
  - name: NODE_NAME
    valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
  - name: NODE_IP
    valueFrom: {fieldRef: {fieldPath: status.hostIP}}
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
livenessProbe:
  httpGet: {path: /health, port: api}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /ready, port: api}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}
