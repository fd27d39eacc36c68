{{/* The ServiceAccount by which the admission policies know Weir. */}}
{{- define "weir.serviceAccount" -}}
{{ .Values.serviceAccount.name | default "weir" }}
{{- end }}

{{- define "weir.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "weir.serviceAccount" . }}
{{- end }}

{{/* The account of the partner API, whether or not it is there. */}}
{{- define "weir.partnersUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:weir-partners
{{- end }}

{{- define "weir.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "weir.selector" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "weir.partnersSelector" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: partners
{{- end }}

{{- define "weir.labels" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: weir
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "weir.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "weir.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The kinds of which it is written down who made and changed them. */}}
{{- define "weir.requested" -}}
- rolebindings
- externalshares
- dataproducts
- streamclients
- streamroles
- partners
- streamclusters
- audittrails
{{- end }}

{{/* Variables of admission policies: who the requesters of a RoleBinding or ExternalShare are, and who made
and changed any other of weir.requested, one a line. Nobody can tell who made one that has no annotation, so it gets none later. */}}
{{- define "weir.requesters" -}}
- name: before
  expression: >-
    request.operation == 'UPDATE' ? oldObject.metadata.?annotations[?'weir.dev/requesters'].orValue('') : ''
- name: asks
  expression: request.operation == 'CREATE' || object.spec != oldObject.spec
- name: due
  expression: >-
    request.operation == 'CREATE' ? request.userInfo.username
    : variables.before == '' || !variables.asks || request.userInfo.username in variables.before.split('\n') ? variables.before
    : variables.before + '\n' + request.userInfo.username
{{- end }}

{{/* Variables of admission policies: who set the present weir.dev/confirm of a StreamCluster or AuditTrail. Nobody can tell of one
that has no name beside it, so it gets none later. */}}
{{- define "weir.confirmed-by" -}}
- name: confirmedBefore
  expression: >-
    request.operation == 'UPDATE' ? oldObject.metadata.?annotations[?'weir.dev/confirm'].orValue('') : ''
- name: confirmed
  expression: object.metadata.?annotations[?'weir.dev/confirm'].orValue('')
- name: before
  expression: >-
    request.operation == 'UPDATE' ? oldObject.metadata.?annotations[?'weir.dev/confirmed-by'].orValue('') : ''
- name: due
  expression: >-
    variables.confirmed == '' || variables.confirmed == variables.confirmedBefore ? variables.before : request.userInfo.username
{{- end }}
