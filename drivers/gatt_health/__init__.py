"""Blood pressure, oximeter, thermometer, glucose, weight and heart rate by Bluetooth LE profiles."""
