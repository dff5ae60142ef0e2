#!/bin/sh
# Asks a server with nothing but buf (https://buf.build/docs/cli): the server describes itself by reflection.
#
#   sh examples/buf_curl.sh street.jpg localhost:50051
set -eu
picture=${1:?usage: buf_curl.sh PICTURE [HOST:PORT]}
server=http://${2:-localhost:50051}
[ -r "$picture" ] || { echo "buf_curl.sh: $picture cannot be read" >&2; exit 1; }

ask() {
    buf curl --protocol grpc --http2-prior-knowledge "$@"
}

echo "# Is it serving?"
health=$(ask "$server/grpc.health.v1.Health/Check")
echo "$health"
echo "$health" | grep -q '"SERVING"' # NOT_SERVING is an answer, too

echo "# What does it serve?"
ask "$server/framewire.v1.ModelService/ListModels"

echo "# What is in the picture?"
case $picture in
*.png | *.PNG) encoding=FRAME_ENCODING_PNG ;;
*) encoding=FRAME_ENCODING_JPEG ;;
esac
# Bytes are base64 in JSON. From standard input, since a command line is too short for a picture.
answer=$(
    {
        printf '{"options": {"max_detections": 20}, "frame": {"encoding": "%s", "content": "' "$encoding"
        base64 <"$picture" | tr -d '\n'
        printf '"}}'
    } | ask --data @- "$server/framewire.v1.DetectionService/DetectImage"
)
echo "$answer"
# The call ends OK whatever became of the picture; without `detections` nobody knows what is in it.
if ! echo "$answer" | grep -q '"detections": *{'; then
    echo "buf_curl.sh: $picture was not answered: see error or dropped above" >&2
    exit 1
fi
