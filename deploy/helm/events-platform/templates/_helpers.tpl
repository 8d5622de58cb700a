{{/* What the names of all objects begin with: a release called `events` has `events-web`. */}}
{{- define "events.name" -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- end }}

{{/* Labels of an object that belongs to no process. */}}
{{- define "events.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* What all pods of the release have in common, and by which they are found. */}}
{{- define "events.selector" -}}
app: events-platform
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "events.podMetadata" -}}
labels:
  {{- include "events.selector" . | nindent 2 }}
  process: {{ .process }}
annotations:
  # Pods are replaced when what they read at their start has changed.
  checksum/settings: {{ include "events.settings" . | sha256sum }}
  {{- with .Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "events.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "events.container" -}}
name: {{ .process }}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom:
  - configMapRef: {name: {{ .configMap | default (printf "%s-platform" (include "events.name" .)) }}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The reasons stand in deploy/kubernetes/worker.yaml. */}}
{{- define "events.livenessByProgress" -}}
livenessProbe:
  exec: {command: [sh, -c, 'test -n "$(find /tmp/alive -mmin -1)"']}
  initialDelaySeconds: 90
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{- define "events.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: secrets, mountPath: /run/secrets/events, readOnly: true}
{{- end }}

{{- define "events.volumes" -}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
- name: secrets
  secret: {secretName: {{ .Values.existingSecret }}, defaultMode: 0440}
{{- end }}

{{/* The data of the ConfigMap. */}}
{{- define "events.settings" -}}
{{- $own := dict
  "PUBLIC_URL" .Values.publicUrl
  "TRUSTED_PROXIES" (toString .Values.trustedProxies)
  "LOG_FORMAT" "json"
  "DATABASE_URL_FILE" "/run/secrets/events/database_url"
  "REDIS_URL_FILE" "/run/secrets/events/redis_url"
  "CELERY_BROKER_URL_FILE" "/run/secrets/events/celery_broker_url"
  "SECRET_KEY_FILE" "/run/secrets/events/secret_key"
  "FIELD_ENCRYPTION_KEYS_FILE" "/run/secrets/events/field_encryption_keys"
  "EMAIL_URL_FILE" "/run/secrets/events/email_url"
  "METRICS_TOKEN_FILE" "/run/secrets/events/metrics_token" -}}
{{- range $name, $value := merge (dict) .Values.settings $own }}
{{ $name }}: {{ toString $value | quote }}
{{- end }}
{{- end }}

{{- define "events.autoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "events.name" . }}-{{ .process }}
  labels: {{ include "events.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "events.name" . }}-{{ .process }}}
  minReplicas: {{ .autoscaling.minReplicas }}
  maxReplicas: {{ .autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ .autoscaling.cpuPercent }}}}
{{- end }}

{{- define "events.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "events.name" . }}-{{ .process }}
  labels: {{ include "events.labels" . | nindent 4 }}
spec:
  minAvailable: 1
  selector:
    matchLabels:
      {{- include "events.selector" . | nindent 6 }}
      process: {{ .process }}
{{- end }}
