# Stands in for python:3.11-slim, with which the image of the MLflow server begins: `python` and `pip` in /usr/local/bin.
FROM localhost/mlops-lab-tests/debian
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /usr/local
CMD ["python"]
